"""Instance segmentation, free of queues: Neven et al., "Instance Segmentation by Jointly Optimizing Spatial Embeddings
and Clustering Bandwidth", CVPR 2019, and its variant for microscopy, EmbedSeg (Lalit et al., MIDL 2021).

Read it in this order: `images` (decoding), `network` (pixels → fields), `clustering` (fields → labels), `objects`
(labels → objects), `segmenter` (all of them in one call), then `dataset`, `training`, `evaluation`, `models`.
Nothing here imports celery or redis; `clustering` and `objects` do not import torch.
"""

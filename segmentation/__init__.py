"""The method, free of queues: Neven et al., "Instance Segmentation by Jointly Optimizing Spatial Embeddings
and Clustering Bandwidth", CVPR 2019, and its microscopy form EmbedSeg (Lalit et al., MIDL 2021).

Read it in this order: `images` and `inputs` (what goes in), `network`, `fields` (what comes out), `clustering` and
`objects` (what it means), `segmenter` (all of them in a row), then `dataset`, `training`, `evaluation`, `catalogue`.
Nothing here imports celery or redis, and `fields`, `clustering` and `objects` do not import torch.
"""

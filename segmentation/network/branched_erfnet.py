"""Branched ERFNet: one encoder, two decoders (Neven et al. 2019, section 3.4; Romera et al. 2018)."""

import math
from collections.abc import Callable

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ..errors import InvalidModel
from .shape_buckets import STRIDE

_BN_EPS = 1e-3
_Relu = Callable[[Tensor], Tensor]


class PaddingMask:
    """A ReLU for a padded batch: it returns 0 in the padding of each sample.

    So each convolution sees there what it sees beyond the border of an image that runs alone. Only convolutions that a
    ReLU feeds look into the padding: a stride-2 convolution padded by one does not look beyond an even side.
    """

    def __init__(self, sizes: Tensor, like: Tensor) -> None:
        """`sizes`: (N, 2) height and width of each sample, multiples of 8, on the device of `like` (N, C, H, W)."""
        self._zero = like.new_zeros(())
        #: By the shape (h, w) of the features: the upper bound of each value, (N, 1, h, w), infinity or 0.
        self._bounds: dict[torch.Size, Tensor] = {}
        for stride in (2, 4, STRIDE):
            rows, columns = (
                torch.arange(0, side, stride, device=like.device) < sizes[:, axis, None]
                for axis, side in enumerate(like.shape[2:])
            )
            inside = rows[:, None, :, None] & columns[:, None, None, :]
            self._bounds[inside.shape[2:]] = torch.where(inside, math.inf, 0.0).to(like.dtype)

    def relu(self, x: Tensor) -> Tensor:
        """(N, C, h, w) features at stride 2, 4 or 8 → their ReLU inside the samples, 0 in the padding."""
        return torch.clamp(x, self._zero, self._bounds[x.shape[2:]])


class Down(nn.Module):
    """Halve the resolution: a stride-2 convolution and a max-pool, concatenated."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out - channels_in, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(channels_out, eps=_BN_EPS)

    def forward(self, x: Tensor, relu: _Relu = F.relu) -> Tensor:
        return relu(self.norm(torch.cat([self.conv(x), F.max_pool2d(x, 2)], 1)))


class NonBottleneck1D(nn.Module):
    """A residual block of four one-dimensional convolutions, the last two dilated."""

    def __init__(self, channels: int, dropout: float, dilation: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, (3, 1), padding=(1, 0))
        self.conv2 = nn.Conv2d(channels, channels, (1, 3), padding=(0, 1))
        self.norm1 = nn.BatchNorm2d(channels, eps=_BN_EPS)
        self.conv3 = nn.Conv2d(channels, channels, (3, 1), padding=(dilation, 0), dilation=(dilation, 1))
        self.conv4 = nn.Conv2d(channels, channels, (1, 3), padding=(0, dilation), dilation=(1, dilation))
        self.norm2 = nn.BatchNorm2d(channels, eps=_BN_EPS)
        self.dropout = nn.Dropout2d(dropout)

    def forward(self, x: Tensor, relu: _Relu = F.relu) -> Tensor:
        y = relu(self.norm1(self.conv2(relu(self.conv1(x)))))
        y = self.norm2(self.conv4(relu(self.conv3(y))))
        return relu(self.dropout(y) + x)

    def fold_norms(self) -> None:
        """Fold the batch norms into the convolutions before them, in place."""
        self.conv2, self.norm1 = fuse_conv_bn_eval(self.conv2, self.norm1), nn.Identity()  # type: ignore[assignment]
        self.conv4, self.norm2 = fuse_conv_bn_eval(self.conv4, self.norm2), nn.Identity()  # type: ignore[assignment]


class Up(nn.Module):
    """Double the resolution by a transposed convolution."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose2d(channels_in, channels_out, 3, stride=2, padding=1, output_padding=1)
        self.norm = nn.BatchNorm2d(channels_out, eps=_BN_EPS)

    def forward(self, x: Tensor, relu: _Relu = F.relu) -> Tensor:
        return relu(self.norm(self.conv(x)))

    def fold_norms(self) -> None:
        """Fold the batch norm into the transposed convolution, in place."""
        self.conv, self.norm = fuse_conv_bn_eval(self.conv, self.norm, transpose=True), nn.Identity()  # type: ignore[assignment]


class Blocks(nn.Sequential):
    """A sequence of blocks that share a ReLU."""

    def forward(self, x: Tensor, relu: _Relu = F.relu) -> Tensor:
        for block in self:
            x = block(x) if isinstance(block, nn.ConvTranspose2d) else block(x, relu)
        return x


def encoder(channels_in: int) -> Blocks:
    """(N, channels_in, H, W) → (N, 128, H/8, W/8)."""
    return Blocks(
        Down(channels_in, 16),
        Down(16, 64),
        *(NonBottleneck1D(64, 0.03, 1) for _ in range(5)),
        Down(64, 128),
        *(NonBottleneck1D(128, 0.3, dilation) for _ in range(2) for dilation in (2, 4, 8, 16)),
    )


def decoder(channels_out: int) -> Blocks:
    """(N, 128, H/8, W/8) → (N, channels_out, H, W)."""
    return Blocks(
        Up(128, 64),
        *(NonBottleneck1D(64, 0.0, 1) for _ in range(2)),
        Up(64, 16),
        *(NonBottleneck1D(16, 0.0, 1) for _ in range(2)),
        nn.ConvTranspose2d(16, channels_out, 2, stride=2),
    )


class BranchedERFNet(nn.Module):
    """(N, channels, H, W) float → raw fields (N, 2 + bandwidths + 1, H, W); H and W multiples of 8.

    Channels of the output, in order: offset before its tanh (x, then y), sigma (1 or 2), seed logit; their meaning is
    in `clustering.fields`.
    """

    def __init__(self, channels: int, bandwidths: int) -> None:
        super().__init__()
        if bandwidths not in (1, 2):
            raise ValueError(f"bandwidths must be 1 or 2, not {bandwidths}")
        self.bandwidths = bandwidths
        self.encoder = encoder(channels)
        self.instance = decoder(2 + bandwidths)
        self.seed = decoder(1)

    def forward(self, x: Tensor, sizes: Tensor | None = None) -> Tensor:
        """`sizes`, (N, 2): height and width of each sample without padding; its fields do not depend on the padding."""
        relu = F.relu if sizes is None else PaddingMask(sizes, x).relu
        features = self.encoder(x, relu)
        return torch.cat([self.instance(features, relu), self.seed(features, relu)], 1)

    @torch.no_grad()
    def init_output_layer(self, margin: float) -> None:
        """Set the start of a training: offsets are 0, and each object's margin is `margin` (grid units).

        The margin is the distance at which φ = ½: margin² · exp(10 σ) = ln 2.
        """
        last = self.instance[-1]
        assert isinstance(last, nn.ConvTranspose2d) and last.bias is not None
        last.weight.zero_()
        last.bias.zero_()
        last.bias[2:] = math.log(math.log(2) / margin**2) / 10


def load_network(channels: int, bandwidths: int, weights: bytes, ref: str) -> BranchedERFNet:
    """The network with `weights` in safetensors format, as float32; batch counters of norms may be missing.

    Raises `InvalidModel`, which names the model `ref`, if the weights don't fit.
    """
    network = BranchedERFNet(channels, bandwidths)
    try:
        tensors = {name: tensor.float() for name, tensor in load(weights).items()}
        result = network.load_state_dict(tensors, strict=False)
    except (SafetensorError, RuntimeError, KeyError) as error:  # KeyError: a type that torch does not have
        raise InvalidModel(f"{ref}: weights that don't fit the network: {error}") from error
    missing = [name for name in result.missing_keys if not name.endswith("num_batches_tracked")]
    if missing or result.unexpected_keys:
        unknown = result.unexpected_keys[:3]
        raise InvalidModel(f"{ref}: weights without {missing[:3]} or with unknown {unknown}")
    return network


def fold_norms(network: nn.Module) -> nn.Module:
    """Fold all batch norms, in place: the same function with fewer passes over memory. Returns the network."""
    for block in network.modules():
        if isinstance(block, NonBottleneck1D | Up):
            block.fold_norms()
    return network

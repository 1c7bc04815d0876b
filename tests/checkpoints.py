"""Checkpoints in the published layout: the network with its published parameter names, written from the papers."""

from __future__ import annotations

import io
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class DownsamplerBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs - inputs, 3, stride=2, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.bn = nn.BatchNorm2d(outputs, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(torch.cat((self.conv(x), self.pool(x)), 1)))


class NonBottleneck(nn.Module):
    def __init__(self, channels: int, dropout: float, dilation: int) -> None:
        super().__init__()
        c, d = channels, dilation
        self.conv3x1_1 = nn.Conv2d(c, c, (3, 1), padding=(1, 0))
        self.conv1x3_1 = nn.Conv2d(c, c, (1, 3), padding=(0, 1))
        self.bn1 = nn.BatchNorm2d(c, eps=1e-3)
        self.conv3x1_2 = nn.Conv2d(c, c, (3, 1), padding=(d, 0), dilation=(d, 1))
        self.conv1x3_2 = nn.Conv2d(c, c, (1, 3), padding=(0, d), dilation=(1, d))
        self.bn2 = nn.BatchNorm2d(c, eps=1e-3)
        self.dropout = nn.Dropout2d(dropout)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1x3_1(F.relu(self.conv3x1_1(x)))))
        return F.relu(x + self.dropout(self.bn2(self.conv1x3_2(F.relu(self.conv3x1_2(y))))))


class UpsamplerBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose2d(inputs, outputs, 3, stride=2, padding=1, output_padding=1)
        self.bn = nn.BatchNorm2d(outputs, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class Encoder(nn.Module):
    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.initial_block = DownsamplerBlock(channels, 16)
        dilated = [NonBottleneck(128, 0.3, d) for _ in range(2) for d in (2, 4, 8, 16)]
        narrow = [NonBottleneck(64, 0.03, 1) for _ in range(5)]
        self.layers = nn.ModuleList([DownsamplerBlock(16, 64), *narrow, DownsamplerBlock(64, 128), *dilated])
        self.output_conv = nn.Conv2d(128, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.initial_block(x)
        for layer in self.layers:
            x = layer(x)
        return x


class Decoder(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        first = [UpsamplerBlock(128, 64), NonBottleneck(64, 0, 1), NonBottleneck(64, 0, 1)]
        second = [UpsamplerBlock(64, 16), NonBottleneck(16, 0, 1), NonBottleneck(16, 0, 1)]
        self.layers = nn.ModuleList([*first, *second])
        self.output_conv = nn.ConvTranspose2d(16, classes, 2, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return cast(Tensor, self.output_conv(x))


class Published(nn.Module):
    """(N, channels, H, W) → (N, 2 + bandwidths + 1, H, W)."""

    def __init__(self, channels: int, bandwidths: int) -> None:
        super().__init__()
        self.encoder = Encoder(channels, 3 + bandwidths)
        self.decoders = nn.ModuleList([Decoder(2 + bandwidths), Decoder(1)])

    def forward(self, x: Tensor) -> Tensor:
        features = self.encoder(x)
        return torch.cat([decoder(features) for decoder in self.decoders], 1)


def published(channels: int, bandwidths: int) -> Published:
    """A network in evaluation mode; every entry of its state affects its output."""
    torch.manual_seed(0)
    network = Published(channels, bandwidths)
    for block in network.modules():
        if isinstance(block, nn.BatchNorm2d):
            assert block.running_mean is not None and block.running_var is not None
            block.running_mean.normal_(0, 0.1)
            block.running_var.uniform_(0.5, 2)
            nn.init.uniform_(block.weight, 0.5, 1.5)
            nn.init.normal_(block.bias, 0, 0.1)
    return network.eval()


def checkpoint(network: nn.Module, prefix: str = "module.", **entries: Any) -> bytes:
    """The file that the published training writes; `entries` are added next to the weights."""
    state = {f"{prefix}{name}": tensor for name, tensor in network.state_dict().items()}
    return saved({"epoch": 200, "best_iou": 0.78, "model_state_dict": state, **entries})


def saved(content: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()

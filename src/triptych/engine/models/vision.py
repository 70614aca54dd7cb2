"""The CLIP vision tower, up to the layer whose features LLaVA reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..checkpoints.checkpoint import VisionConfig
from ..ops.linear import Linear


@dataclass(frozen=True, slots=True)
class LayerNorm:
    """Layer normalisation over the last dimension; `weight` and `bias` are [H]."""

    weight: Tensor
    bias: Tensor
    eps: float

    def __call__(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)

    @property
    def nbytes(self) -> int:
        return self.weight.nbytes + self.bias.nbytes


@dataclass(frozen=True, slots=True)
class PatchEmbedding:
    """Pixels to patch vectors: `kernel` [H, 3, P, P], `class_vector` [H], `positions` [tokens + 1, H]."""

    kernel: Tensor
    class_vector: Tensor
    positions: Tensor

    def __call__(self, pixels: Tensor) -> Tensor:
        """[n, 3, S, S] -> [n, tokens + 1, H], the class vector first, patches row by row."""
        patches = F.conv2d(pixels.to(self.kernel.dtype), self.kernel, stride=self.kernel.shape[-1])
        rows = patches.flatten(2).transpose(1, 2)
        return torch.cat([self.class_vector.expand(len(rows), 1, -1), rows], dim=1) + self.positions

    @property
    def nbytes(self) -> int:
        return self.kernel.nbytes + self.class_vector.nbytes + self.positions.nbytes


@dataclass(frozen=True, slots=True)
class VisionLayer:
    """One pre-norm transformer layer; `qkv` is [3H, H]."""

    norm1: LayerNorm
    qkv: Linear
    out: Linear
    norm2: LayerNorm
    fc1: Linear
    fc2: Linear

    @property
    def nbytes(self) -> int:
        parts = (self.norm1, self.qkv, self.out, self.norm2, self.fc1, self.fc2)
        return sum(part.nbytes for part in parts)


def quick_gelu(x: Tensor) -> Tensor:
    """The GELU approximation CLIP was trained with; the exact one gives fluent but slightly wrong captions."""
    return x * torch.sigmoid(1.702 * x)


_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"quick_gelu": quick_gelu, "gelu": F.gelu}


class VisionTower:
    """`layers` are only those in front of the feature layer; there is no final norm on that path."""

    def __init__(
        self, config: VisionConfig, embedding: PatchEmbedding, pre_norm: LayerNorm, layers: Sequence[VisionLayer]
    ) -> None:
        self.config = config
        self._embedding = embedding
        self._pre_norm = pre_norm
        self._layers = tuple(layers)
        self._activation = _ACTIVATIONS[config.activation]

    @property
    def nbytes(self) -> int:
        layers = sum(layer.nbytes for layer in self._layers)
        return self._embedding.nbytes + self._pre_norm.nbytes + layers

    def forward(self, pixels: Tensor) -> Tensor:
        """Features [n, tokens, H] of `pixels` [n, 3, S, S], class vector dropped, patches row by row."""
        x = self._pre_norm(self._embedding(pixels))
        for layer in self._layers:
            x = x + layer.out(self._attend(layer.qkv(layer.norm1(x))))
            x = x + layer.fc2(self._activation(layer.fc1(layer.norm2(x))))
        return x[:, 1:]

    def _attend(self, qkv: Tensor) -> Tensor:
        """Bidirectional attention inside each tile: [n, T, 3H] -> [n, T, H]."""
        q, k, v = qkv.unflatten(-1, (3, self.config.heads, -1)).permute(2, 0, 3, 1, 4)
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)

"""LLaVA's own parts: from pixels to vectors that stand in for the embeddings of image tokens."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..imaging.anyres import AnyresLayout
from ..ops.linear import Linear
from .vision import VisionTower

# Tiles encoded at once: enough to fill any device, and a bound on the tower's scratch memory.
TILE_BATCH = 16


@dataclass(frozen=True, slots=True)
class Projector:
    """Vision features to the decoder's width: linear, exact GELU, linear."""

    linear_1: Linear
    linear_2: Linear

    def __call__(self, features: Tensor) -> Tensor:
        return self.linear_2(F.gelu(self.linear_1(features)))

    @property
    def nbytes(self) -> int:
        return self.linear_1.nbytes + self.linear_2.nbytes


@dataclass(frozen=True, slots=True)
class Llava:
    """Tower and projector; `newline` [H] ends each row of an anyres map, None for LLaVA 1.5."""

    tower: VisionTower
    projector: Projector
    newline: Tensor | None = None

    @property
    def nbytes(self) -> int:
        newline = 0 if self.newline is None else self.newline.nbytes
        return self.tower.nbytes + self.projector.nbytes + newline

    def encode(self, pixels: Tensor) -> Tensor:
        """Projected features [n, tokens, H] of tiles `pixels` [n, 3, S, S]; tiles do not see each other."""
        batches = [self.projector(self.tower.forward(tiles)) for tiles in pixels.split(TILE_BATCH)]
        return batches[0] if len(batches) == 1 else torch.cat(batches)

    def pack(self, projected: Tensor, layout: AnyresLayout | None) -> Tensor:
        """The rows [tokens, H] that replace one image's tokens, from its tiles [tiles, tokens per tile, H].

        Without a layout (LLaVA 1.5) the tile as it is. Otherwise the base tile, then the map of the other tiles
        with the padding cut off and a newline at the end of each of its rows; the base tile alone ends with one.
        """
        if layout is None:
            return projected.flatten(0, 1)
        if self.newline is None:
            raise ValueError("an anyres layout needs a model with image_newline")
        H, g = projected.shape[-1], layout.grid
        if layout.tiles == 1:
            return torch.cat([projected[0], self.newline[None]])
        tiles = projected[1:].view(layout.rows, layout.cols, g, g, H)
        whole = tiles.permute(0, 2, 1, 3, 4).reshape(layout.map_rows, layout.map_cols, H)
        kept = whole[
            layout.row_start : layout.row_start + layout.kept_rows,
            layout.col_start : layout.col_start + layout.kept_cols,
        ]
        newlines = self.newline.expand(layout.kept_rows, 1, H)
        return torch.cat([projected[0], torch.cat([kept, newlines], dim=1).flatten(0, 1)])

"""Plain torch modules whose parameter names are those of the Hugging Face checkpoints."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.shapes import GRID, PATCH, VOCABULARY, Text, Vision

_QUICK = 1.702


class VisionLayer(nn.Module):
    """One pre-norm CLIP layer."""

    def __init__(self, shape: Vision) -> None:
        super().__init__()
        self.heads = shape.heads
        self.self_attn = nn.ModuleDict(
            {name: nn.Linear(shape.hidden, shape.hidden) for name in ("q_proj", "k_proj", "v_proj", "out_proj")}
        )
        self.layer_norm1 = nn.LayerNorm(shape.hidden)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(shape.hidden, shape.mlp), "fc2": nn.Linear(shape.mlp, shape.hidden)})
        self.layer_norm2 = nn.LayerNorm(shape.hidden)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, H] -> [B, T, H]."""
        batch, length, hidden = x.shape
        normed = self.layer_norm1(x)
        q, k, v = (
            self.self_attn[name](normed).view(batch, length, self.heads, -1).transpose(1, 2)
            for name in ("q_proj", "k_proj", "v_proj")
        )
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, length, hidden)
        x = x + self.self_attn["out_proj"](mixed)
        # quick_gelu is x * sigmoid(1.702 x): the factor goes into the small matrices, silu does the rest in one pass.
        first, second = self.mlp["fc1"], self.mlp["fc2"]
        inner = F.silu(F.linear(self.layer_norm2(x), first.weight * _QUICK, first.bias * _QUICK))
        return x + F.linear(inner, second.weight / _QUICK, second.bias)


class VisionModel(nn.Module):
    """The CLIP tower up to layer -2."""

    def __init__(self, shape: Vision) -> None:
        super().__init__()
        self.embeddings = nn.ParameterDict()
        self.embeddings["class_embedding"] = nn.Parameter(torch.randn(shape.hidden) * 0.02)
        self.patch = nn.Conv2d(3, shape.hidden, PATCH, PATCH, bias=False)
        self.position = nn.Parameter(_sincos(shape.hidden))
        self.pre_layrnorm = nn.LayerNorm(shape.hidden)
        self.encoder = nn.ModuleDict({"layers": nn.ModuleList(VisionLayer(shape) for _ in range(shape.layers))})
        self.post_layernorm = nn.LayerNorm(shape.hidden)
        # Nothing reads these two (vision_feature_layer -2).
        self.encoder["layers"][-1].requires_grad_(False)
        self.post_layernorm.requires_grad_(False)

    def forward(self, pixels: Tensor, keep: Tensor | None = None) -> Tensor:
        """[B, 3, S, S] normalised pixels -> [B, GRID * GRID, H] features, class token dropped.

        With `keep` [B, K], patch numbers, only those patches are looked at and answered for: [B, K, H].
        """
        if keep is None:
            keep = torch.arange(GRID * GRID).expand(len(pixels), -1)
        patches = pixels.unflatten(2, (GRID, PATCH)).unflatten(4, (GRID, PATCH)).permute(0, 2, 4, 1, 3, 5)
        row = torch.arange(len(pixels))[:, None]
        x = F.linear(patches[row, keep // GRID, keep % GRID].flatten(2), self.patch.weight.flatten(1))
        x = x + self.position[1:][keep]
        start = (self.embeddings["class_embedding"] + self.position[0]).expand(x.shape[0], 1, -1)
        x = self.pre_layrnorm(torch.cat([start, x], dim=1))
        for layer in list(self.encoder["layers"])[:-1]:
            x = layer(x)
        return x[:, 1:]


def _sincos(hidden: int) -> Tensor:
    """Start the position table as 2-D sines, so that neighbours look alike from the first step. [1 + GRID^2,
    hidden].
    """
    quarter = hidden // 4
    rate = 1.0 / 30.0 ** (torch.arange(quarter) / quarter)
    place = torch.arange(GRID).float()[:, None] * rate
    wave = torch.cat([place.sin(), place.cos()], dim=1)
    rows = wave[:, None].expand(GRID, GRID, -1)
    columns = wave[None].expand(GRID, GRID, -1)
    table = torch.cat([rows, columns], dim=-1).reshape(GRID * GRID, hidden)
    return torch.cat([torch.zeros(1, hidden), table]) * 0.5


class RMSNorm(nn.Module):
    def __init__(self, hidden: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(hidden))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, (x.shape[-1],), self.weight, self.eps)


@dataclass(frozen=True)
class Sight:
    """Who sees whom. The first `prefix` tokens see those before them; the rest see what `mask` [B, 1, T - prefix, T]
    says (None: no prefix, and everyone sees those before). With `behind_only` the prefix itself is not computed.
    """

    prefix: int = 0
    mask: Tensor | None = None
    behind_only: bool = False


class Attention(nn.Module):
    """Rotary attention, keys and values shared by groups of queries."""

    def __init__(self, shape: Text) -> None:
        super().__init__()
        self.size = shape.hidden // shape.heads
        self.groups = shape.heads // shape.kv_heads
        self.q_proj = nn.Linear(shape.hidden, shape.heads * self.size, bias=False)
        self.k_proj = nn.Linear(shape.hidden, shape.kv_heads * self.size, bias=False)
        self.v_proj = nn.Linear(shape.hidden, shape.kv_heads * self.size, bias=False)
        self.o_proj = nn.Linear(shape.heads * self.size, shape.hidden, bias=False)

    def forward(self, x: Tensor, rotary: tuple[Tensor, Tensor], see: Sight) -> Tensor:
        """[B, T, H] -> [B, T, H]; [B, T - prefix, H] if only those behind the prefix are asked for."""
        batch, length, _ = x.shape
        at = see.prefix if see.behind_only else 0
        asking = x[:, at:]
        q = self.q_proj(asking).view(batch, length - at, -1, self.size).transpose(1, 2)
        k, v = (proj(x).view(batch, length, -1, self.size).transpose(1, 2) for proj in (self.k_proj, self.v_proj))
        q, k = _rotate(q, (rotary[0][:, :, at:], rotary[1][:, :, at:])), _rotate(k, rotary)
        if self.groups > 1:
            k, v = k.repeat_interleave(self.groups, 1), v.repeat_interleave(self.groups, 1)
        ahead = see.prefix - at
        parts = []
        if ahead:
            first = (part[:, :, :ahead] for part in (q, k, v))
            parts.append(F.scaled_dot_product_attention(*first, is_causal=True))
        behind = F.scaled_dot_product_attention(q[:, :, ahead:], k, v, attn_mask=see.mask, is_causal=see.mask is None)
        mixed = torch.cat([*parts, behind], dim=2)
        return self.o_proj(mixed.transpose(1, 2).reshape(batch, length - at, -1))


def _rotate(x: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
    cos, sin = rotary
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-second, first], dim=-1) * sin


class DenseMLP(nn.Module):
    def __init__(self, shape: Text) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(shape.hidden, shape.mlp, bias=False)
        self.up_proj = nn.Linear(shape.hidden, shape.mlp, bias=False)
        self.down_proj = nn.Linear(shape.mlp, shape.hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Expert(nn.Module):
    def __init__(self, shape: Text) -> None:
        super().__init__()
        self.w1 = nn.Linear(shape.hidden, shape.mlp, bias=False)
        self.w2 = nn.Linear(shape.mlp, shape.hidden, bias=False)
        self.w3 = nn.Linear(shape.hidden, shape.mlp, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.w2(F.silu(self.w1(x)) * self.w3(x))


class SparseMLP(nn.Module):
    """Top-2 of the experts; `balance` holds the last load-balance loss (1 when evenly used)."""

    def __init__(self, shape: Text) -> None:
        super().__init__()
        self.gate = nn.Linear(shape.hidden, shape.experts, bias=False)
        self.experts = nn.ModuleList(Expert(shape) for _ in range(shape.experts))
        self.balance = torch.zeros(())

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        shares = self.gate(rows).float().softmax(-1)
        top, chosen = shares.topk(2, dim=-1)
        top = top / top.sum(-1, keepdim=True)
        used = F.one_hot(chosen, shares.shape[-1]).float().sum(1)
        self.balance = (used.mean(0) / 2 * shares.mean(0)).sum() * shares.shape[-1]
        # Sort the pairs of row and expert by expert: one gather, one pass per expert, one scatter.
        order = chosen.flatten().argsort(stable=True)
        source = order // 2
        counts = used.sum(0).long().tolist()
        parts = [expert(part) for expert, part in zip(self.experts, rows[source].split(counts), strict=True)]
        out = torch.zeros_like(rows).index_add(0, source, torch.cat(parts) * top.flatten()[order, None].to(rows.dtype))
        return out.view_as(x)


class DecoderLayer(nn.Module):
    def __init__(self, shape: Text) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(shape.hidden, shape.eps)
        self.self_attn = Attention(shape)
        self.post_attention_layernorm = RMSNorm(shape.hidden, shape.eps)
        if shape.experts:
            self.block_sparse_moe = SparseMLP(shape)
        else:
            self.mlp = DenseMLP(shape)

    def forward(self, x: Tensor, rotary: tuple[Tensor, Tensor], see: Sight) -> Tensor:
        mixed = self.self_attn(self.input_layernorm(x), rotary, see)
        x = x[:, -mixed.shape[1] :] + mixed
        mlp = self.block_sparse_moe if hasattr(self, "block_sparse_moe") else self.mlp
        return x + mlp(self.post_attention_layernorm(x))


class Decoder(nn.Module):
    """Llama, Mistral or Mixtral: embeddings, layers, head."""

    def __init__(self, shape: Text) -> None:
        super().__init__()
        self.shape = shape
        self.model = nn.ModuleDict(
            {
                "embed_tokens": nn.Embedding(VOCABULARY, shape.hidden),
                "layers": nn.ModuleList(DecoderLayer(shape) for _ in range(shape.layers)),
                "norm": RMSNorm(shape.hidden, shape.eps),
            }
        )
        self.lm_head = nn.Linear(shape.hidden, VOCABULARY, bias=False)
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                deep = name.endswith(("o_proj.weight", "down_proj.weight", "w2.weight"))
                nn.init.normal_(weight, std=0.04 / math.sqrt(2 * shape.layers) if deep else 0.04)

    def embed(self, ids: Tensor) -> Tensor:
        return self.model["embed_tokens"](ids)

    def hidden(self, x: Tensor, positions: Tensor, see: Sight) -> Tensor:
        """Embeddings [B, T, H] at `positions` [B, T] -> normed states of those behind the prefix [B, T - prefix, H]."""
        rotary = self._rotary(positions, x.dtype)
        *layers, last = self.model["layers"]
        for layer in layers:
            x = layer(x, rotary, see)
        return self.model["norm"](last(x, rotary, replace(see, behind_only=True)))

    def _rotary(self, positions: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        size = self.shape.hidden // self.shape.heads
        rate = self.shape.theta ** (-torch.arange(0, size, 2, device=positions.device).float() / size)
        angle = positions[:, None, :, None].float() * rate
        angle = torch.cat([angle, angle], dim=-1)
        return angle.cos().to(dtype), angle.sin().to(dtype)


class Projector(nn.Module):
    def __init__(self, vision: Vision, text: Text) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(vision.hidden, text.hidden)
        self.linear_2 = nn.Linear(text.hidden, text.hidden)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear_2(F.gelu(self.linear_1(x)))


class Llava(nn.Module):
    """Tower, projector, decoder and the newline row (which 1.5 does not export)."""

    def __init__(self, vision: Vision, text: Text) -> None:
        super().__init__()
        self.vision_tower = nn.ModuleDict({"vision_model": VisionModel(vision)})
        self.multi_modal_projector = Projector(vision, text)
        self.language_model = Decoder(text)
        self.image_newline = nn.Parameter(torch.randn(text.hidden) * 0.02)

    def see(self, pixels: Tensor) -> Tensor:
        """Tiles [B, 3, S, S] -> tower features [B, GRID * GRID, H]."""
        return self.vision_tower["vision_model"](pixels)

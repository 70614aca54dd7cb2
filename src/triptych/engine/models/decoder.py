"""The decoder of Llama, Mistral and Mixtral: grouped-query attention and a dense or sparse feed-forward block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from ..checkpoints.checkpoint import TextConfig
from ..ops.attention import AttentionPlan, KVCache, attention
from ..ops.linear import Linear
from ..ops.moe import Experts, moe
from ..ops.norm import rms_norm
from ..ops.rotary import RotaryTable, rotate


@dataclass(frozen=True, slots=True)
class GatedMlp:
    """down(silu(gate x) * up x); `gate_up` is [2F, H] with the gate rows first, `down` is [H, F]."""

    gate_up: Linear
    down: Linear

    def __call__(self, x: Tensor) -> Tensor:
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        return self.down(F.silu(gate) * up)

    @property
    def nbytes(self) -> int:
        return self.gate_up.nbytes + self.down.nbytes


@dataclass(frozen=True, slots=True)
class SparseMlp:
    """Each token goes through `top_k` of the experts; `router` is [E, H]."""

    router: Tensor
    experts: Experts
    top_k: int

    def __call__(self, x: Tensor) -> Tensor:
        return moe(x, self.router, self.experts, self.top_k)

    @property
    def nbytes(self) -> int:
        return self.router.nbytes + self.experts.nbytes


@dataclass(frozen=True, slots=True)
class DecoderLayer:
    """`qkv` is [(heads + 2 kv_heads) * D, H] with the query rows first, `out` is [H, heads * D]."""

    input_norm: Tensor
    qkv: Linear
    out: Linear
    mlp_norm: Tensor
    mlp: GatedMlp | SparseMlp

    @property
    def nbytes(self) -> int:
        norms = self.input_norm.nbytes + self.mlp_norm.nbytes
        return norms + self.qkv.nbytes + self.out.nbytes + self.mlp.nbytes


class Decoder:
    """Tokens of many sequences in one flat dimension T; which belongs to which is `attn`'s business.

    `embedding` is [V, H] and `norm` [H] in the compute type, `head` multiplies [V, H].
    """

    def __init__(
        self, config: TextConfig, embedding: Tensor, layers: Sequence[DecoderLayer], norm: Tensor, head: Linear
    ) -> None:
        self.config = config
        self._embedding = embedding
        self._layers = tuple(layers)
        self._norm = norm
        self._head = head
        self._rotary = RotaryTable(config.rope_theta, config.head_dim, config.max_positions, embedding.device)

    @property
    def nbytes(self) -> int:
        """Bytes of all weights; a tied head is counted with the embedding."""
        head = 0 if self.config.tied else self._head.nbytes
        return self._embedding.nbytes + self._norm.nbytes + head + sum(layer.nbytes for layer in self._layers)

    def embed(self, token_ids: Tensor) -> Tensor:
        """Embeddings [T, H] of `token_ids` [T]."""
        return F.embedding(token_ids, self._embedding)

    def forward(
        self, hidden: Tensor, positions: Tensor, cache: KVCache, attn: AttentionPlan, keep: Tensor | None = None
    ) -> Tensor:
        """Final hidden states [T, H] of `hidden` [T, H] at `positions` [T]; keys and values go into `cache`.

        With `keep` [R] only those rows are finished and returned, [R, H]: what the last layer does after its
        attention serves nobody else.
        """
        cos, sin = self._rotary.at(positions, hidden.dtype)
        last = len(self._layers) - 1
        for number, layer in enumerate(self._layers):
            x = rms_norm(hidden, layer.input_norm, self.config.rms_eps)
            mixed = self._attend(layer.qkv(x), cos, sin, cache.keys[number], cache.values[number], attn)
            if number == last and keep is not None:
                hidden, mixed = hidden[keep], mixed[keep]
            hidden = hidden + layer.out(mixed)
            hidden = hidden + layer.mlp(rms_norm(hidden, layer.mlp_norm, self.config.rms_eps))
        return rms_norm(hidden, self._norm, self.config.rms_eps)

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits [R, V] in fp32 of final hidden states [R, H]."""
        return self._head(hidden).float()

    def _attend(
        self, qkv: Tensor, cos: Tensor, sin: Tensor, keys: Tensor, values: Tensor, attn: AttentionPlan
    ) -> Tensor:
        """Attention [T, heads * D] of stacked projections `qkv` [T, (heads + 2 kv_heads) * D]."""
        c = self.config
        split = qkv.unflatten(-1, (c.heads + 2 * c.kv_heads, c.head_dim))
        turned = rotate(split[:, : c.heads + c.kv_heads], cos, sin)
        mixed = attention(
            turned[:, : c.heads],
            turned[:, c.heads :],
            split[:, c.heads + c.kv_heads :],
            keys,
            values,
            attn,
            window=c.sliding_window,
        )
        return mixed.flatten(1)

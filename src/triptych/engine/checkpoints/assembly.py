"""Puts a model together from the tensors of its checkpoint, matrix by matrix, in the checkpoint's order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from ..config import Precision
from ..models.decoder import Decoder, DecoderLayer, GatedMlp, SparseMlp
from ..models.llava import Llava, Projector
from ..models.vision import LayerNorm, PatchEmbedding, VisionLayer, VisionTower
from ..ops.dense import as_stored
from ..ops.linear import Linear, convert, linear_from
from ..ops.moe import Experts
from ..ops.packed import Weights
from .checkpoint import ModelConfig, TextConfig, VisionConfig
from .quant import QuantStore
from .weight_reader import WeightReader

QUANTISED: tuple[Precision, ...] = ("int8", "int4", "w8a8")
_WIDE: dict[torch.dtype, Precision] = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}


@dataclass(slots=True)
class Rounding:
    """How many of the fp16 weights have no bf16 twin, estimated from every 64th row."""

    seen: int = 0
    inexact: int = 0

    def look_at(self, weight: Tensor, precision: Precision) -> None:
        if weight.dtype == torch.float16 and precision == "bf16":
            sample = weight[::64]
            self.seen += sample.numel()
            self.inexact += int((sample.bfloat16().float() != sample.float()).sum())

    @property
    def share(self) -> float:
        return self.inexact / self.seen if self.seen else 0.0


@dataclass(slots=True)
class Assembly:
    """The parts of one model; `linears` are all its matrices, `rounding` what their conversion cost."""

    config: ModelConfig
    precision: Precision
    dtype: torch.dtype
    device: torch.device
    reader: WeightReader
    store: QuantStore
    pack: bool = True
    rounding: Rounding = field(default_factory=Rounding)
    linears: list[Linear] = field(default_factory=list)

    def llava(self) -> Llava | None:
        """Tower, projector and newline, for models that have them."""
        if self.config.vision is None:
            return None
        projector = Projector(
            self._affine("multi_modal_projector.linear_1", self.config.projector_bias),
            self._affine("multi_modal_projector.linear_2", self.config.projector_bias),
        )
        newline = self._tensor("image_newline") if self.config.grid_pinpoints else None
        return Llava(self._tower(self.config.vision), projector, newline)

    def decoder(self) -> Decoder:
        text = self.config.text
        # Only the rows of words that occur are ever read, so they may stay in the file.
        embedding = self.reader.take("language_model.embed_tokens.weight").to(self.device, self.dtype)
        layers = [self._layer(f"language_model.layers.{number}.", text) for number in range(text.layers)]
        norm = self._tensor("language_model.norm.weight")
        head = self._tied_head(embedding) if text.tied else self._linear(["lm_head"], self._head_precision)
        return Decoder(text, embedding, layers, norm, head)

    @property
    def _head_precision(self) -> Precision:
        """The head decides the token directly, so it never has less than 8 bits nor rounded inputs."""
        return "int8" if self.precision in ("int4", "w8a8") else self.precision

    def _tied_head(self, embedding: Tensor) -> Linear:
        return self._slice("lm_head", embedding, self._head_precision)

    def _layer(self, layer: str, text: TextConfig) -> DecoderLayer:
        attention = layer + "self_attn."
        return DecoderLayer(
            input_norm=self._tensor(layer + "input_layernorm.weight"),
            qkv=self._linear([f"{attention}{part}_proj" for part in "qkv"], self.precision),
            out=self._linear([attention + "o_proj"], self.precision),
            mlp_norm=self._tensor(layer + "post_attention_layernorm.weight"),
            mlp=self._sparse(layer + "mlp.", text) if text.experts else self._gated(layer + "mlp."),
        )

    def _gated(self, mlp: str) -> GatedMlp:
        return GatedMlp(
            self._linear([mlp + "gate_proj", mlp + "up_proj"], self.precision),
            self._linear([mlp + "down_proj"], self.precision),
        )

    def _sparse(self, mlp: str, text: TextConfig) -> SparseMlp:
        router = self._tensor(mlp + "gate.weight")
        experts = self._fused_experts if self.reader.has(mlp + "experts.down_proj") else self._single_experts
        return SparseMlp(router, experts(mlp + "experts.", text.experts), text.experts_per_token)

    def _single_experts(self, prefix: str, count: int) -> Experts:
        """Published Mixtral files: w1 is the gate, w3 the up projection, w2 the way down."""
        gate_up, down = [], []
        for expert in range(count):
            one = f"{prefix}{expert}."
            gate_up.append(self._linear([one + "w1", one + "w3"], self.precision))
            down.append(self._linear([one + "w2"], self.precision))
        return Experts(gate_up, down)

    def _fused_experts(self, prefix: str, count: int) -> Experts:
        def split(name: str) -> list[Linear]:
            fused = self.reader.take(prefix + name)
            return [
                self._slice(f"{prefix}{expert}.{name}", fused[expert], self.precision) for expert in range(count)
            ]

        return Experts(split("gate_up_proj"), split("down_proj"))

    def _tower(self, vision: VisionConfig) -> VisionTower:
        embeddings = "vision_tower.embeddings."
        embedding = PatchEmbedding(
            class_vector=self._tensor(embeddings + "class_embedding"),
            kernel=self._tensor(embeddings + "patch_embedding.weight"),
            positions=self._tensor(embeddings + "position_embedding.weight"),
        )
        pre_norm = self._norm("vision_tower.pre_layrnorm", vision)
        layers = [
            self._vision_layer(f"vision_tower.encoder.layers.{number}.", vision)
            for number in range(self.config.vision_layers_used)
        ]
        return VisionTower(vision, embedding, pre_norm, layers)

    def _vision_layer(self, layer: str, vision: VisionConfig) -> VisionLayer:
        parts = [f"{layer}self_attn.{part}_proj" for part in "qkv"]
        return VisionLayer(
            norm1=self._norm(layer + "layer_norm1", vision),
            norm2=self._norm(layer + "layer_norm2", vision),
            qkv=self._linear(parts, _WIDE[self.dtype], bias=True),
            out=self._affine(layer + "self_attn.out_proj"),
            fc1=self._affine(layer + "mlp.fc1"),
            fc2=self._affine(layer + "mlp.fc2"),
        )

    def _norm(self, name: str, vision: VisionConfig) -> LayerNorm:
        return LayerNorm(self._tensor(name + ".weight"), self._tensor(name + ".bias"), vision.layer_norm_eps)

    def _affine(self, name: str, bias: bool = True) -> Linear:
        """A matrix of the vision side: it stays in 16 or 32 bits, whatever the decoder's precision."""
        return self._linear([name], _WIDE[self.dtype], bias)

    def _linear(self, names: list[str], precision: Precision, bias: bool = False) -> Linear:
        """Matrices that read the same input, under each other and stored once."""
        weights = [name + ".weight" for name in names]
        stacked_bias = self.reader.stack([name + ".bias" for name in names]) if bias else None
        if precision in QUANTISED and self.store.cached:
            self.reader.skip(weights)
        if self._stays_in_files(precision):
            return self._as_stored([self.reader.take(weight) for weight in weights], stacked_bias, precision)
        return self._converted("+".join(names), partial(self.reader.stack, weights), stacked_bias, precision)

    def _slice(self, name: str, weight: Tensor, precision: Precision) -> Linear:
        """A matrix without bias that has been read already."""
        if self._stays_in_files(precision):
            return self._as_stored([weight], None, precision)
        return self._converted(name, lambda: weight, None, precision)

    def _stays_in_files(self, precision: Precision) -> bool:
        """Whether a matrix is computed with from where it is mapped, until it is packed."""
        return not self.pack and precision not in QUANTISED and self.device.type == "cpu"

    def _as_stored(self, parts: list[Tensor], bias: Tensor | None, precision: Precision) -> Linear:
        for part in parts:
            self.rounding.look_at(part, precision)
        return self._hold(as_stored(parts), bias, precision)

    def _converted(
        self, name: str, weight: Callable[[], Tensor], bias: Tensor | None, precision: Precision
    ) -> Linear:
        """`weight()` in `precision`; it is not even called when the store has the quantised matrix."""

        def make() -> Weights:
            original = weight()
            self.rounding.look_at(original, precision)
            return convert(original, precision, self.device)

        return self._hold(self.store.matrix(name, make) if precision in QUANTISED else make(), bias, precision)

    def _hold(self, weights: Weights, bias: Tensor | None, precision: Precision) -> Linear:
        linear = linear_from(weights, bias, precision=precision, device=self.device, pack=self.pack)
        self.linears.append(linear)
        return linear

    def _tensor(self, name: str) -> Tensor:
        return self.reader.copy(name, self.dtype, self.device)

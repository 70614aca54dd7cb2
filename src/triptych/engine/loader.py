"""From a checkpoint folder to a model in memory: tensor by tensor, in the form it is computed in."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from .checkpoint import ModelConfig, TextConfig, VisionConfig
from .config import Precision
from .errors import CheckpointError
from .machine import Machine
from .models.decoder import Decoder, DecoderLayer, GatedMlp, SparseMlp
from .models.llava import Llava, Projector
from .models.vision import LayerNorm, PatchEmbedding, VisionLayer, VisionTower
from .ops.linear import Linear, make_linear
from .ops.moe import Experts
from .shards import StoredTensor, stored_tensors
from .weight_reader import ProgressCallback, WeightReader
from .weights import canonical_name, check_tensors

log = logging.getLogger(__name__)
WIDE: dict[torch.dtype, Precision] = {
    torch.float32: "fp32",
    torch.float16: "fp16",
    torch.bfloat16: "bf16",
}


@dataclass(frozen=True, slots=True)
class Model:
    """A loaded model. `llava` is None for plain text models."""

    config: ModelConfig
    precision: Precision
    dtype: torch.dtype
    decoder: Decoder
    llava: Llava | None

    @property
    def nbytes(self) -> int:
        """Bytes of all weights in memory."""
        return self.decoder.nbytes + (0 if self.llava is None else self.llava.nbytes)


def load_model(
    folder: str | Path,
    config: ModelConfig,
    precision: Precision,
    device: torch.device | str = "cpu",
    *,
    compute_dtype: torch.dtype | None = None,
    progress: ProgressCallback | None = None,
) -> Model:
    """Load the checkpoint of `folder`, described by `config`, with its matrices in `precision`.

    Embeddings, norms, router, patch embedding, vision tower and projector stay in `compute_dtype` (by default
    the precision's own, for quantised ones what the device multiplies fast). `progress(done, total)` is told
    bytes read. Raises CheckpointError (UnsupportedModelError) before anything is read if the files do not
    hold exactly the tensors the config implies.
    """
    device = torch.device(device)
    stored = find_tensors(Path(folder), config)
    dtype = compute_dtype or default_compute_dtype(precision, config, device)
    build = _Build(config, precision, dtype, device, WeightReader(stored, progress))
    with torch.inference_mode():
        model = build.model()
    if build.rounding.share:
        log.info(
            "fp16 weights computed in bf16: about %.0f %% of them lose up to 3 bits; precision fp32 keeps them",
            100 * build.rounding.share,
        )
    return model


def find_tensors(folder: Path, config: ModelConfig) -> dict[str, StoredTensor]:
    """Where each tensor the model uses is stored, by canonical name, in the order of the model.

    Raises CheckpointError for missing, unexpected, misshapen or doubled tensors.
    """
    stored: dict[str, StoredTensor] = {}
    for tensor in stored_tensors(folder).values():
        name = canonical_name(tensor.name)
        if name in stored:
            raise CheckpointError(f"{folder}: {stored[name].name} and {tensor.name} are the same weight")
        stored[name] = tensor
    used = check_tensors(config, {name: tensor.shape for name, tensor in stored.items()}, str(folder))
    for name in used:
        if stored[name].dtype not in ("F32", "F16", "BF16"):
            raise CheckpointError(
                f"{folder}: {name} is stored as {stored[name].dtype}; only floats of 16 and 32 bits are read"
            )
    return {name: stored[name] for name in used}


def default_compute_dtype(precision: Precision, config: ModelConfig, device: torch.device) -> torch.dtype:
    """The type activations have: the precision's own, for quantised weights the one the device is fast in."""
    if precision in ("fp32", "fp16", "bf16"):
        return {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[precision]
    if device.type == "cuda":
        return torch.float16 if config.dtype == "float16" else torch.bfloat16
    return torch.bfloat16 if Machine.probe("cpu").fast_bf16 else torch.float32


@dataclass(slots=True)
class _Rounding:
    """How many of the fp16 weights have no bf16 twin, estimated from every 64th row."""

    seen: int = 0
    inexact: int = 0

    def look_at(self, weight: Tensor, target: torch.dtype) -> None:
        if weight.dtype != torch.float16 or target != torch.bfloat16:
            return
        sample = weight[::64]
        self.seen += sample.numel()
        self.inexact += int((sample.to(target).float() != sample.float()).sum())

    @property
    def share(self) -> float:
        return self.inexact / self.seen if self.seen else 0.0


@dataclass(slots=True)
class _Build:
    """Assembles the parts of one model from a reader, in the reader's order."""

    config: ModelConfig
    precision: Precision
    dtype: torch.dtype
    device: torch.device
    reader: WeightReader
    rounding: _Rounding = field(default_factory=_Rounding)

    def model(self) -> Model:
        decoder = self._decoder(self.config.text)
        llava = None
        if self.config.vision is not None:
            tower = self._tower(self.config.vision)
            projector = Projector(
                self._affine("multi_modal_projector.linear_1", self.config.projector_bias),
                self._affine("multi_modal_projector.linear_2", self.config.projector_bias),
            )
            newline = self._tensor("image_newline") if self.config.grid_pinpoints else None
            llava = Llava(tower, projector, newline)
        return Model(self.config, self.precision, self.dtype, decoder, llava)

    def _decoder(self, text: TextConfig) -> Decoder:
        embedding = self._tensor("language_model.embed_tokens.weight")
        layers = [self._layer(f"language_model.layers.{number}.", text) for number in range(text.layers)]
        norm = self._tensor("language_model.norm.weight")
        head = self._tied_head(embedding) if text.tied else self._linear(["lm_head.weight"], self._head_precision)
        return Decoder(text, embedding, layers, norm, head)

    @property
    def _head_precision(self) -> Precision:
        """The head decides the token directly, so it never has less than 8 bits nor rounded inputs."""
        return "int8" if self.precision in ("int4", "w8a8") else self.precision

    def _tied_head(self, embedding: Tensor) -> Linear:
        return make_linear(embedding, None, precision=self._head_precision, device=self.device)

    def _layer(self, layer: str, text: TextConfig) -> DecoderLayer:
        attention = layer + "self_attn."
        return DecoderLayer(
            input_norm=self._tensor(layer + "input_layernorm.weight"),
            qkv=self._linear([f"{attention}{part}_proj.weight" for part in "qkv"], self.precision),
            out=self._linear([attention + "o_proj.weight"], self.precision),
            mlp_norm=self._tensor(layer + "post_attention_layernorm.weight"),
            mlp=self._sparse(layer + "mlp.", text) if text.experts else self._gated(layer + "mlp."),
        )

    def _gated(self, mlp: str) -> GatedMlp:
        return GatedMlp(
            self._linear([mlp + "gate_proj.weight", mlp + "up_proj.weight"], self.precision),
            self._linear([mlp + "down_proj.weight"], self.precision),
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
            gate_up.append(self._linear([one + "w1.weight", one + "w3.weight"], self.precision))
            down.append(self._linear([one + "w2.weight"], self.precision))
        return Experts(gate_up, down)

    def _fused_experts(self, prefix: str, count: int) -> Experts:
        def split(name: str) -> list[Linear]:
            weights = self.reader.take(prefix + name)
            return [self._make(weights[expert], None, self.precision) for expert in range(count)]

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
            qkv=self._linear(
                [part + ".weight" for part in parts], WIDE[self.dtype], [part + ".bias" for part in parts]
            ),
            out=self._affine(layer + "self_attn.out_proj"),
            fc1=self._affine(layer + "mlp.fc1"),
            fc2=self._affine(layer + "mlp.fc2"),
        )

    def _norm(self, name: str, vision: VisionConfig) -> LayerNorm:
        return LayerNorm(self._tensor(name + ".weight"), self._tensor(name + ".bias"), vision.layer_norm_eps)

    def _affine(self, name: str, bias: bool = True) -> Linear:
        """A matrix of the vision side: it stays in 16 or 32 bits, whatever the decoder's precision."""
        return self._linear([name + ".weight"], WIDE[self.dtype], [name + ".bias"] if bias else [])

    def _linear(self, weights: list[str], precision: Precision, biases: list[str] | None = None) -> Linear:
        """Matrices that read the same input, stacked into one and stored once."""
        weight = self.reader.stack(weights)
        return self._make(weight, self.reader.stack(biases) if biases else None, precision)

    def _make(self, weight: Tensor, bias: Tensor | None, precision: Precision) -> Linear:
        self.rounding.look_at(weight, self.dtype)
        return make_linear(weight, bias, precision=precision, device=self.device)

    def _tensor(self, name: str) -> Tensor:
        return self.reader.copy(name, self.dtype, self.device)

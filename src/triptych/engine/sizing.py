"""Decides, from sizes alone, in which precision a model runs here and how its memory is divided.

Nothing is loaded and nothing is tried: `triptych explain` prints the same decisions that the engine takes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from .config import BLOCK_SIZE, EngineConfig, Precision
from .errors import MemoryBudgetError, ParameterError

if TYPE_CHECKING:
    from .checkpoints.checkpoint import ModelConfig
    from .machine import Machine

GIB = 1 << 30
# Scratch of a step, the allocator's slack and the interpreter itself; measured by bench/startup.py.
OVERHEAD = {"cpu": 600 << 20, "cuda": 2 * GIB}
BYTES_PER_WEIGHT: dict[Precision, float] = {
    "fp32": 4.0,
    "fp16": 2.0,
    "bf16": 2.0,
    "int8": 1.0,
    "w8a8": 1.0,
    "int4": 0.5 + 4 / 64,  # a scale and a zero point of 16 bits for each group of 64
}
# A shorter context than this is no use to a picture and a conversation about it: "auto" shortens to it at most.
USEFUL_CONTEXT = 4096
# Bits per weight below which we go only when told to, in the order in which "auto" tries them.
FALLBACKS: tuple[Precision, ...] = ("int8", "int4")


@dataclass(frozen=True, slots=True)
class Decision:
    """One thing that was decided, with the reason in words."""

    name: str
    value: str
    reason: str


@dataclass(frozen=True, slots=True)
class Parameters:
    """Parameter counts of what is loaded (vision layers behind the feature layer are not)."""

    blocks: int
    experts: int
    embedding: int
    head: int
    vision: int
    projector: int
    active: int

    @property
    def total(self) -> int:
        return self.blocks + self.experts + self.embedding + self.head + self.vision + self.projector

    def nbytes(self, precision: Precision) -> int:
        """Bytes in memory: decoder matrices and head in `precision`, the rest never below 16 bits."""
        wide = max(2.0, BYTES_PER_WEIGHT[precision])
        head = max(1.0, BYTES_PER_WEIGHT[precision])
        matrices = (self.blocks + self.experts) * BYTES_PER_WEIGHT[precision]
        return int(matrices + self.head * head + (self.embedding + self.vision + self.projector) * wide)


@dataclass(frozen=True, slots=True)
class Sizing:
    """Everything the engine needs to know before it loads; `decisions` says why."""

    device: str
    precision: Precision
    compute_dtype: str
    weight_bytes: int
    kv_token_bytes: int
    kv_blocks: int
    max_context: int
    token_budget: int
    chunk_while_decoding: int
    tile_budget: int
    decisions: tuple[Decision, ...]

    @property
    def kv_bytes(self) -> int:
        return self.kv_blocks * BLOCK_SIZE * self.kv_token_bytes


def count_parameters(config: ModelConfig) -> Parameters:
    """Counts from the config's sizes; equals the checkpoint's own count of the tensors that are used."""
    text = config.text
    attention = 2 * text.hidden * text.head_dim * (text.heads + text.kv_heads)
    mlp = 3 * text.hidden * text.intermediate
    norms = 2 * text.hidden
    experts = text.experts or 0
    dense = attention + norms + (text.hidden * experts if experts else mlp)
    embedding = text.vocab * text.hidden
    head = 0 if text.tied else embedding
    vision = projector = 0
    if config.vision is not None:
        v = config.vision
        layer = 4 * v.hidden * v.hidden + 2 * v.hidden * v.intermediate + 9 * v.hidden + v.intermediate
        vision = config.vision_layers_used * layer + v.hidden * (3 * v.patch_size**2 + v.tokens + 1 + 1 + 2)
        projector = text.hidden * (v.hidden + text.hidden + 2) + (text.hidden if config.grid_pinpoints else 0)
    active_mlp = mlp * text.experts_per_token if experts else 0
    blocks = text.layers * dense + text.hidden
    return Parameters(
        blocks=blocks,
        experts=text.layers * experts * mlp,
        embedding=embedding,
        head=head,
        vision=vision,
        projector=projector,
        active=blocks + text.layers * active_mlp + embedding,
    )


def resolve(config: EngineConfig, model: ModelConfig, machine: Machine) -> Sizing:
    """Raises MemoryBudgetError saying what would fit, ParameterError for options the model cannot have."""
    decisions = [_device_decision(config, machine)]
    parameters = count_parameters(model)
    longest = _longest_context(config, model)
    item = 4 if model.dtype == "float32" else 2
    least_kv = min(longest, USEFUL_CONTEXT) * _kv_token_bytes(model, item)
    precision = _choose_precision(config, model, machine, parameters, least_kv, decisions)
    dtype = _compute_dtype(precision, model, machine)
    token_bytes = _kv_token_bytes(model, 4 if dtype == "float32" else 2)
    weights = parameters.nbytes(precision)
    decisions.append(Decision("weights", _gb(weights), f"{_count(parameters.total)} parameters used"))
    context, blocks = _divide_kv(config, machine, weights, token_bytes, longest, decisions)
    budget, chunk, tiles = _step_budgets(config, model, machine, parameters, context)
    decisions.append(
        Decision(
            "step",
            f"{budget} tokens, {chunk} while others decode, {tiles} tiles",
            "the most one step computes; smaller while other requests wait for their next token",
        )
    )
    return Sizing(
        device=machine.device,
        precision=precision,
        compute_dtype=dtype,
        weight_bytes=weights,
        kv_token_bytes=token_bytes,
        kv_blocks=blocks,
        max_context=context,
        token_budget=budget,
        chunk_while_decoding=chunk,
        tile_budget=tiles,
        decisions=tuple(decisions),
    )


def _device_decision(config: EngineConfig, machine: Machine) -> Decision:
    if config.device != "auto":
        reason = "asked for"
    else:
        reason = "a GPU is here" if machine.device == "cuda" else "no GPU is here"
    size = f"{machine.cores} cores, " if machine.device == "cpu" else ""
    return Decision("device", machine.device, f"{reason}: {machine.name} ({size}{_gb(machine.total_memory)})")


def _stored_precision(model: ModelConfig, machine: Machine) -> tuple[Precision, str]:
    stored = model.dtype
    if stored == "float32":
        return "fp32", "as stored"
    if stored == "float16":
        if machine.device == "cuda":
            return "fp16", "as stored"
        if machine.fast_bf16:
            return "bf16", "stored as fp16, which this CPU does not multiply; bf16 keeps 3 bits less of each weight"
        return "fp32", "stored as fp16; this CPU multiplies neither fp16 nor bf16 at speed"
    if machine.fast_bf16:
        return "bf16", "as stored"
    return "fp32", "stored as bf16, which this CPU does not multiply at speed"


def _kv_token_bytes(model: ModelConfig, item: int) -> int:
    """Bytes of one token's keys and values in all layers, `item` bytes per number."""
    return 2 * model.text.layers * model.text.kv_heads * model.text.head_dim * item


def _choose_precision(
    config: EngineConfig,
    model: ModelConfig,
    machine: Machine,
    parameters: Parameters,
    least_kv: int,
    decisions: list[Decision],
) -> Precision:
    room = machine.free_memory - OVERHEAD[machine.device]

    def fits(candidate: Precision) -> bool:
        return parameters.nbytes(candidate) + least_kv <= room

    precision, reason = _stored_precision(model, machine)
    if config.precision not in ("auto", "stored"):
        precision, reason = cast(Precision, config.precision), "asked for"
    elif config.precision == "auto" and not fits(precision):
        too_big = _gb(parameters.nbytes(precision))
        for smaller in FALLBACKS:
            if fits(smaller):
                reason = f"{precision} would need {too_big} of weights, {_gb(room)} is free"
                precision = smaller
                break
    if not fits(precision):
        fitting = [name for name in FALLBACKS if fits(name)]
        way_out = f"precision {fitting[0]} would fit" if fitting else "no precision of it fits this machine"
        raise MemoryBudgetError(
            f"{config.model_name} in {precision} needs {_gb(parameters.nbytes(precision))} for weights and "
            f"{_gb(least_kv)} for one context, {_gb(max(0, room))} is free; {way_out}"
        )
    decisions.append(Decision("precision", precision, reason))
    return precision


def _compute_dtype(precision: Precision, model: ModelConfig, machine: Machine) -> str:
    if precision == "fp32":
        return "float32"
    if precision in ("fp16", "bf16"):
        return "float16" if precision == "fp16" else "bfloat16"
    if machine.device == "cuda":
        return "float16" if model.dtype == "float16" else "bfloat16"
    return "bfloat16" if machine.fast_bf16 else "float32"


def _longest_context(config: EngineConfig, model: ModelConfig) -> int:
    limit = model.text.max_positions
    if config.max_context is not None and config.max_context > limit:
        raise ParameterError(
            f"max_context {config.max_context} is beyond the model's own {limit} tokens", "max_context"
        )
    return config.max_context or limit


def _divide_kv(
    config: EngineConfig,
    machine: Machine,
    weights: int,
    token_bytes: int,
    longest: int,
    decisions: list[Decision],
) -> tuple[int, int]:
    """(context in tokens, KV blocks): as many tokens as `max_rows` can use, at least one context."""
    room = machine.free_memory - OVERHEAD[machine.device] - weights
    block_bytes = BLOCK_SIZE * token_bytes
    useful = config.max_rows * (-(-longest // BLOCK_SIZE)) * block_bytes
    if config.kv_memory is not None:
        budget, reason = config.kv_memory, "asked for"
    elif machine.device == "cuda":
        budget, reason = min(int(room * 0.9), useful), f"of {_gb(room)} left after weights and scratch"
    else:
        one = min(room * 9 // 10, min(longest, USEFUL_CONTEXT) * token_bytes + block_bytes)
        budget = min(max(one, min(room // 2, 4 * GIB)), useful)
        reason = f"of {_gb(room)} left after weights; memory is taken when used"
    blocks = max(0, min(budget, room)) // block_bytes
    fitting = blocks * BLOCK_SIZE
    least = longest if config.max_context is not None else min(longest, USEFUL_CONTEXT)
    if budget > room or min(fitting, longest) < least:
        hint = f"max_context {fitting} would fit" if fitting else "free some memory"
        raise MemoryBudgetError(
            f"one context of {least} tokens needs {_gb(least * token_bytes)} of KV cache, "
            f"{_gb(max(0, min(room, budget)))} is free for it; {hint}"
        )
    context = min(fitting, longest)
    decisions.append(Decision("context", f"{context} tokens", _context_reason(config, context, longest)))
    decisions.append(Decision("kv cache", f"{_gb(budget)} = {blocks * BLOCK_SIZE} tokens", reason))
    return context, blocks


def _context_reason(config: EngineConfig, context: int, longest: int) -> str:
    if config.max_context is not None:
        return "asked for"
    if context < longest:
        return f"what the KV cache holds; the model allows {longest} (a larger kv_memory gives more)"
    return "what the model was made for"


def _step_budgets(
    config: EngineConfig, model: ModelConfig, machine: Machine, parameters: Parameters, context: int
) -> tuple[int, int, int]:
    """(tokens, tokens while others decode, tiles) of one step, so that a step stays a fraction of a second.

    On a GPU a step streams the weights in milliseconds, so big steps cost nobody much. On a CPU 128 tokens of a
    7B model take about as long as a person accepts between two tokens; smaller models get more.
    """
    tile_flops = 2.0 * parameters.vision * (model.vision.tokens if model.vision else 0)
    if machine.device == "cuda":
        return config.token_budget or 8192, 2048, 32
    budget = config.token_budget or max(4096, context)
    chunk = int(min(2048, max(128, 128 * 7e9 / max(1, parameters.active))))
    tiles = int(min(64, max(5, 2e12 / tile_flops))) if tile_flops else 5
    return budget, min(chunk, budget), tiles


def _gb(size: int) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def _count(number: int) -> str:
    return f"{number / 1e9:.2f} billion" if number >= 1e9 else f"{number / 1e6:.2f} million"

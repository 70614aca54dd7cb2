"""Decisions from sizes alone, checked against the published parameter counts of the real checkpoints."""

from pathlib import Path

import pytest

from triptych.engine.checkpoints.checkpoint import ModelConfig
from triptych.engine.config import EngineConfig
from triptych.engine.errors import MemoryBudgetError, ParameterError
from triptych.engine.machine import Machine, physical_cores
from triptych.engine.sizing import count_parameters, resolve

GB = 10**9
CLIP = {
    "model_type": "clip_vision_model", "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24,
    "num_attention_heads": 16, "image_size": 336, "patch_size": 14,
}  # fmt: skip
LLAVA_15_7B = {
    "model_type": "llava", "image_token_index": 32000, "torch_dtype": "float16", "vision_feature_layer": -2,
    "vision_feature_select_strategy": "default", "projector_hidden_act": "gelu", "vision_config": CLIP,
    "text_config": {
        "model_type": "llama", "max_position_embeddings": 4096, "rms_norm_eps": 1e-5, "vocab_size": 32064
    },
}  # fmt: skip
LLAVA_16_7B = {
    **LLAVA_15_7B, "model_type": "llava_next",
    "image_grid_pinpoints": [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]],
    "text_config": {
        "model_type": "mistral", "intermediate_size": 14336, "num_key_value_heads": 8, "rope_theta": 1e6,
        "max_position_embeddings": 32768, "sliding_window": None, "rms_norm_eps": 1e-5, "vocab_size": 32064,
    },
}  # fmt: skip
MIXTRAL = {"model_type": "mixtral", "torch_dtype": "bfloat16", "max_position_embeddings": 32768}


def config_of(raw: dict) -> ModelConfig:
    return ModelConfig.from_dict(raw)


def machine(free: float, device: str = "cpu", fast_bf16: bool = True) -> Machine:
    return Machine(device, "test machine", 2, int(free * 1.1), int(free), fast_bf16)


def engine_config(**options) -> EngineConfig:
    return EngineConfig(Path("llava"), **options)


@pytest.mark.parametrize(
    ("raw", "published", "dead_vision"),
    [
        # The last tower layer and post_layernorm are in the file and are not used.
        (LLAVA_15_7B, 7_063_427_072, 12_596_224 + 2_048),
        (LLAVA_16_7B, 7_566_747_648, 12_596_224 + 2_048),
        (MIXTRAL, 46_702_792_704, 0),
    ],
)
def test_counts_equal_the_published_ones(raw, published, dead_vision):
    assert count_parameters(config_of(raw)).total == published - dead_vision


def test_mixtral_computes_two_of_eight_experts():
    assert count_parameters(config_of(MIXTRAL)).active == 12_879_925_248 - 131_072_000


def test_auto_keeps_what_is_stored_where_the_device_computes_it():
    sizing = resolve(engine_config(), config_of(LLAVA_15_7B), machine(64 * GB))
    assert (sizing.precision, sizing.compute_dtype) == ("bf16", "bfloat16")
    sizing = resolve(engine_config(), config_of(LLAVA_15_7B), machine(64 * GB, fast_bf16=False))
    assert (sizing.precision, sizing.compute_dtype) == ("fp32", "float32")
    sizing = resolve(engine_config(), config_of(LLAVA_15_7B), machine(64 * GB, device="cuda"))
    assert (sizing.precision, sizing.compute_dtype) == ("fp16", "float16")


@pytest.mark.parametrize(("free", "precision"), [(24, "bf16"), (12, "int8"), (8, "int4")])
def test_auto_goes_below_16_bits_only_when_it_must_and_says_so(free, precision):
    sizing = resolve(engine_config(max_context=2048), config_of(LLAVA_15_7B), machine(free * GB))
    assert sizing.precision == precision
    reason = next(decision.reason for decision in sizing.decisions if decision.name == "precision")
    assert ("14.1" in reason) == (precision != "bf16")


def test_weights_that_do_not_fit_name_a_precision_that_would():
    with pytest.raises(MemoryBudgetError, match=r"bf16 needs 14\.10 GB for weights.*precision int8 would fit"):
        resolve(engine_config(precision="bf16"), config_of(LLAVA_15_7B), machine(12 * GB))
    with pytest.raises(MemoryBudgetError, match="no precision of it fits"):
        resolve(engine_config(), config_of(MIXTRAL), machine(8 * GB))


def test_a_context_that_does_not_fit_names_one_that_would():
    with pytest.raises(MemoryBudgetError, match=r"max_context (\d+) would fit") as caught:
        resolve(engine_config(kv_memory=GB), config_of(LLAVA_15_7B), machine(64 * GB))
    fitting = int(str(caught.value).split("max_context ")[1].split()[0])
    sizing = resolve(engine_config(kv_memory=GB, max_context=fitting), config_of(LLAVA_15_7B), machine(64 * GB))
    assert sizing.kv_bytes <= GB
    assert sizing.kv_token_bytes == 524_288


def test_the_kv_cache_is_never_larger_than_all_rows_can_use():
    sizing = resolve(engine_config(max_rows=2, max_context=64), config_of(LLAVA_16_7B), machine(64 * GB))
    assert sizing.kv_blocks == 2 * 4


def test_everything_fits_together():
    for free in (16, 32, 64):
        sizing = resolve(engine_config(), config_of(LLAVA_16_7B), machine(free * GB))
        assert sizing.weight_bytes + sizing.kv_bytes <= free * GB


def test_context_beyond_the_model_is_refused():
    with pytest.raises(ParameterError, match="5000 is beyond the model's own 4096"):
        resolve(engine_config(max_context=5000), config_of(LLAVA_15_7B), machine(64 * GB))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "int2"}, "precision must be one of auto, stored"),
        ({"device": "tpu"}, "device must be one of auto, cpu, cuda"),
        ({"preprocess": "stretch"}, "preprocess must be one of crop, pad"),
        ({"max_rows": 0}, "max_rows must be a whole number of at least 1, not 0"),
        ({"threads": True}, "threads must be a whole number"),
    ],
)
def test_bad_options_name_the_option(options, message):
    with pytest.raises(ParameterError, match=message):
        engine_config(**options)


def test_the_machine_is_probed():
    probed = Machine.probe("cpu")
    assert probed.device == "cpu"
    assert 0 < probed.free_memory <= probed.total_memory
    assert 1 <= probed.cores == physical_cores()

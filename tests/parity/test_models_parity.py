"""Logits, features and greedy tokens against transformers, on random checkpoints of every kind and layout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import checkpoints
import pytest
import torch
from stepping import Stepper
from torch import Tensor

from triptych.engine.checkpoints.checkpoint import ModelConfig
from triptych.engine.checkpoints.loader import Model, load_model
from triptych.engine.imaging.anyres import base_layout, compute_layout

Maker = Callable[..., Path]
TEXT_MODELS: dict[str, tuple[Maker, dict[str, Any]]] = {
    "llama": (checkpoints.make_llama, {}),
    "llama-gqa-tied": (
        checkpoints.make_llama,
        {"text": {"num_key_value_heads": 2, "tie_word_embeddings": True, "head_dim": 24, "rope_theta": 5e5}},
    ),
    "mistral": (checkpoints.make_mistral, {"max_shard_size": "60KB"}),
    "mistral-window": (checkpoints.make_mistral, {"text": {"sliding_window": 8}}),
    "mixtral": (checkpoints.make_mixtral, {"layout": "v5", "max_shard_size": "150KB"}),
    "mixtral-fused": (checkpoints.make_mixtral, {"layout": "v5-raw"}),
}
ODD_SIZES = ((28, 28), (90, 20), (11, 55), (300, 200), (55, 176), (200, 1), (1, 200), (56, 84))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Makes each checkpoint once for the module."""
    made: dict[str, Path] = {}

    def folder(key: str, make: Maker, **over: Any) -> Path:
        if key not in made:
            made[key] = make(tmp_path_factory.mktemp(key), **over)
        return made[key]

    return folder


def ours(folder: Path, precision: Any = "fp32") -> Model:
    return load_model(folder, ModelConfig.from_folder(folder), precision, "cpu")


def reference(folder: Path, dtype: torch.dtype = torch.float32) -> Any:
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

    kind = ModelConfig.from_folder(folder).architecture
    auto = AutoModelForImageTextToText if kind.startswith("llava") else AutoModelForCausalLM
    return auto.from_pretrained(folder, dtype=dtype).eval()


def drawn_ids(count: int, seed: int = 0) -> Tensor:
    return torch.randint(3, 300, (count,), generator=torch.Generator().manual_seed(seed))


def drawn_pixels(tiles: int, side: int, seed: int = 0) -> Tensor:
    return torch.randn(tiles, 3, side, side, generator=torch.Generator().manual_seed(seed))


def assert_close(mine: Tensor, theirs: Tensor) -> None:
    assert mine.shape == theirs.shape
    assert float((mine - theirs).abs().max()) <= 1e-4 * float(theirs.std())


@pytest.mark.parametrize("kind", TEXT_MODELS)
@torch.inference_mode()
def test_text_logits_and_greedy_tokens_equal_transformers(kind: str, folders: Callable[..., Path]) -> None:
    make, over = TEXT_MODELS[kind]
    folder = folders(kind, make, **over)
    model, oracle = ours(folder), reference(folder)
    ids = drawn_ids(50)

    assert_close(Stepper(model).step({0: ids}), oracle(ids[None]).logits[0])
    expected = oracle.generate(ids[None], max_new_tokens=64, do_sample=False, eos_token_id=None, pad_token_id=0)
    assert Stepper(model).greedy(ids, 64) == expected[0, len(ids):].tolist()


@pytest.mark.parametrize("kind", ["llama", "mistral", "mistral-window", "mixtral"])
def test_chunks_and_neighbours_change_nothing(kind: str, folders: Callable[..., Path]) -> None:
    make, over = TEXT_MODELS[kind]
    model = ours(folders(kind, make, **over))
    ids, other = drawn_ids(60), drawn_ids(37, seed=1)
    whole = Stepper(model).step({0: ids})

    together = Stepper(model, sequences=2)
    parts = [together.step({1: other[:20], 0: ids[:7]})[20:], together.step({0: ids[7:40], 1: other[20:21]})[:33]]
    parts += [together.step({1: other[21:], 0: ids[40:41]})[-1:], together.step({0: ids[41:]})]
    assert_close(torch.cat(parts), whole)

    single = Stepper(model)
    steps = [single.step({0: token[None]}) for token in ids]
    assert_close(torch.cat(steps), whole)


def test_kept_rows_are_those_of_the_whole(folders: Callable[..., Path]) -> None:
    for kind in ("llama", "mixtral"):
        make, over = TEXT_MODELS[kind]
        model = ours(folders(kind, make, **over))
        ids, keep = drawn_ids(20), torch.tensor([3, 19])
        assert_close(Stepper(model).step({0: ids}, keep), Stepper(model).step({0: ids})[keep])


@pytest.mark.parametrize("layout", checkpoints.LAYOUTS)
@torch.inference_mode()
def test_llava15_in_every_layout(layout: str, folders: Callable[..., Path]) -> None:
    shards = "100KB" if layout == "hub" else "5GB"
    folder = folders(f"llava15-{layout}", checkpoints.make_llava15, layout=layout, max_shard_size=shards)
    oracle = reference(folders("llava15-v5", checkpoints.make_llava15, layout="v5"))
    model = ours(folder)
    assert model.llava is not None
    pixels = drawn_pixels(2, 28)
    ids = torch.cat([drawn_ids(5), torch.full((4,), 300), drawn_ids(6, 1), torch.full((4,), 300), drawn_ids(3, 2)])

    tower = oracle.model.vision_tower(pixels, output_hidden_states=True).hidden_states[-2][:, 1:]
    assert_close(model.llava.tower.forward(pixels), tower)
    projected = model.llava.encode(pixels)
    assert_close(projected, oracle.model.multi_modal_projector(tower))

    embedded = model.decoder.embed(ids)
    embedded[ids == 300] = torch.cat([model.llava.pack(tile[None], None) for tile in projected])
    assert_close(Stepper(model).step({0: embedded}), oracle(input_ids=ids[None], pixel_values=pixels).logits[0])
    expected = oracle.generate(
        input_ids=ids[None], pixel_values=pixels, max_new_tokens=64, do_sample=False, eos_token_id=None,
        pad_token_id=0,
    )
    assert Stepper(model).greedy(embedded, 64) == expected[0, len(ids):].tolist()


@pytest.mark.parametrize("backbone", ["mistral", "llama"])
@pytest.mark.parametrize("layout", ["hub", "v5-raw"])
@torch.inference_mode()
def test_llava16_packs_and_answers_like_transformers(
    backbone: str, layout: str, folders: Callable[..., Path]
) -> None:
    text = {"model_type": backbone} if backbone == "llama" else {}
    make = checkpoints.make_llava16
    folder = folders(f"llava16-{backbone}-{layout}", make, layout=layout, text=text)
    oracle = reference(folders(f"llava16-{backbone}-v5", make, text=text))
    model = ours(folder)
    assert model.llava is not None
    for width, height in ODD_SIZES:
        place = compute_layout(width, height, model.config.grid_pinpoints, 28, 14)
        pixels = drawn_pixels(place.tiles, 28)
        packed = model.llava.pack(model.llava.encode(pixels), place)
        assert len(packed) == place.tokens
        ids = torch.cat([drawn_ids(3), torch.full((len(packed),), 300), drawn_ids(5, 1)])
        embedded = model.decoder.embed(ids)
        embedded[ids == 300] = packed
        theirs = oracle(
            input_ids=ids[None], pixel_values=pixels[None], image_sizes=torch.tensor([[height, width]])
        )
        assert_close(Stepper(model).step({0: embedded}), theirs.logits[0])


@pytest.mark.parametrize("size", [(28, 28), (176, 55), (1, 400)])
@torch.inference_mode()
def test_a_base_tile_alone_is_packed_and_answered_like_a_picture_of_one_tile(
    size: tuple[int, int], folders: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """transformers packs one tile as it is, but never cuts one: it is told here that there is no more."""
    from transformers.models.llava_next import modeling_llava_next

    folder = folders("llava16-mistral-v5", checkpoints.make_llava16, text={})
    model, oracle = ours(folder), reference(folder)
    assert model.llava is not None
    monkeypatch.setattr(modeling_llava_next, "image_size_to_num_patches", lambda **_: 1)
    pixels, place = drawn_pixels(1, 28), base_layout(28, 14)
    packed = model.llava.pack(model.llava.encode(pixels), place)
    assert len(packed) == place.tokens == 5
    ids = torch.cat([drawn_ids(3), torch.full((len(packed),), 300), drawn_ids(5, 1)])
    embedded = model.decoder.embed(ids)
    embedded[ids == 300] = packed
    theirs = oracle(input_ids=ids[None], pixel_values=pixels[None], image_sizes=torch.tensor([size[::-1]]))
    assert_close(Stepper(model).step({0: embedded}), theirs.logits[0])


@torch.inference_mode()
def test_the_real_grid_of_336_pixels(folders: Callable[..., Path]) -> None:
    folder = folders(
        "llava16-336", checkpoints.make_llava16, vision={"image_size": 336},
        text={"num_hidden_layers": 1, "max_position_embeddings": 4096},
    )
    model, oracle = ours(folder), reference(folder)
    assert model.llava is not None
    place = compute_layout(176, 55, model.config.grid_pinpoints, 336, 14)
    pixels = drawn_pixels(place.tiles, 336)
    packed = model.llava.pack(model.llava.encode(pixels), place)
    theirs = oracle.model.get_image_features(pixels[None], torch.tensor([[55, 176]]))
    features = theirs.pooler_output if hasattr(theirs, "pooler_output") else theirs
    assert len(packed) == place.tokens == 1360
    assert_close(packed, features[0])


@pytest.mark.parametrize("layer", [-1, -3, 1, 0])
@torch.inference_mode()
def test_feature_layers(layer: int, tmp_path: Path) -> None:
    folder = checkpoints.make_llava15(tmp_path, tokenizer=False)
    checkpoints.edit_config(folder, vision_feature_layer=layer)
    model, pixels = ours(folder), drawn_pixels(1, 28)
    assert model.llava is not None
    states = reference(folder).model.vision_tower(pixels, output_hidden_states=True).hidden_states
    assert_close(model.llava.tower.forward(pixels), states[layer][:, 1:])


def test_sharded_and_single_files_load_the_same_bits(folders: Callable[..., Path]) -> None:
    for make in (checkpoints.make_llama, checkpoints.make_mixtral):
        single = ours(folders(make.__name__ + "-single", make))
        sharded = ours(folders(make.__name__ + "-sharded", make, max_shard_size="40KB"))
        ids = drawn_ids(30)
        assert torch.equal(Stepper(single).step({0: ids}), Stepper(sharded).step({0: ids}))


@pytest.mark.parametrize("kind", ["llama", "mistral", "mixtral"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@torch.inference_mode()
def test_16_bit_errors_are_no_larger_than_transformers_own(
    kind: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    make = TEXT_MODELS[kind][0]
    text = {"num_hidden_layers": 8, "hidden_size": 128, "intermediate_size": 256}
    folder = make(tmp_path, text=text, dtype=dtype, tokenizer=False)
    ids = drawn_ids(200)
    exact = reference(folder)(ids[None]).logits[0]
    theirs = (reference(folder, dtype)(ids[None]).logits[0].float() - exact).abs()
    mine = (Stepper(ours(folder, "bf16" if dtype == torch.bfloat16 else "fp16")).step({0: ids}) - exact).abs()
    assert mine.mean() <= 1.25 * theirs.mean()
    assert mine.quantile(0.999) <= 1.25 * theirs.quantile(0.999)

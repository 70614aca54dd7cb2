"""Pictures at low detail, on a whole engine: what is seen, what it costs, and that nothing kept mixes the two views."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from engines import Shelf, ask, chat, tokens
from picture_files import encoded, noise

from triptych.engine.engine import Engine
from triptych.engine.imaging.images import ImageInput, open_image

DATA = encoded(noise(120, 70))
TEXT = "what do you see"
ANSWER = {"max_tokens": 12, "ignore_eos": True}


def picture(detail: str) -> ImageInput:
    return open_image(DATA, detail=detail)  # type: ignore[arg-type]


@pytest.fixture
def engine(shelf: Shelf) -> Iterator[Engine]:
    with shelf.open("llava16") as engine:
        yield engine


def features(engine: Engine, detail: str) -> torch.Tensor:
    preprocessor = engine.preprocessor
    assert preprocessor is not None
    return engine._loop.runner.embeddings.get(preprocessor.digest(picture(detail)))


def test_low_detail_is_the_base_tile_of_the_whole_picture_and_a_newline(engine: Engine) -> None:
    for detail in ("high", "low"):
        ask(engine, chat(engine, TEXT, picture(detail)), max_tokens=1).result()
    high, low = features(engine, "high"), features(engine, "low")
    newline = engine._loop.runner.model.llava.newline  # type: ignore[union-attr]
    assert len(low) == 5 < len(high)
    # The tower sees one tile at a time, but a batch of several may round another way.
    torch.testing.assert_close(low[:4], high[:4], rtol=1e-4, atol=1e-5)
    assert torch.equal(low[4], newline)


def test_usage_counts_what_is_seen(engine: Engine) -> None:
    prompts = [chat(engine, TEXT, picture(detail)) for detail in ("high", "low")]
    high, low = (ask(engine, prompt, **ANSWER).result().usage for prompt in prompts)
    assert low.image_tokens == 5
    assert high.prompt_tokens - low.prompt_tokens == high.image_tokens - low.image_tokens > 0


def test_neither_features_nor_prefixes_of_one_view_answer_for_the_other(shelf: Shelf) -> None:
    alone = {}
    for detail in ("high", "low"):
        with shelf.open("llava16") as engine:
            alone[detail] = tokens(ask(engine, chat(engine, TEXT, picture(detail)), **ANSWER).result())
    with shelf.open("llava16") as engine:
        for detail in ("high", "low", "high", "low"):
            assert tokens(ask(engine, chat(engine, TEXT, picture(detail)), **ANSWER).result()) == alone[detail]
        assert engine.stats().images_cached == 2
        assert engine.stats().counters.image_queries == 4
        assert engine.stats().counters.image_hits == 2
        assert engine._loop.runner.tiles_encoded == 1 + picture_tiles(engine)


def picture_tiles(engine: Engine) -> int:
    assert engine.preprocessor is not None
    return engine.preprocessor.tiles(120, 70)


def test_one_picture_at_both_details_in_one_prompt(engine: Engine) -> None:
    prompt = chat(engine, TEXT, picture("low"), picture("high"), picture("low"))
    assert [span.tiles for span in prompt.spans] == [1, picture_tiles(engine), 1]
    assert prompt.spans[0].digest == prompt.spans[2].digest != prompt.spans[1].digest
    result = ask(engine, prompt, **ANSWER).result()
    assert result.usage.image_tokens == sum(span.length for span in prompt.spans)
    assert engine._loop.runner.tiles_encoded == 1 + picture_tiles(engine)


def test_llava_fifteen_has_one_view(shelf: Shelf) -> None:
    with shelf.open("llava15") as engine:
        high, low = (chat(engine, TEXT, picture(detail)) for detail in ("high", "low"))
        assert high.token_ids == low.token_ids
        first, second = (ask(engine, prompt, **ANSWER).result() for prompt in (high, low))
        assert tokens(first) == tokens(second)
        assert second.usage.cached_tokens == (second.usage.prompt_tokens - 1) // 16 * 16
        assert engine.stats().images_cached == 1

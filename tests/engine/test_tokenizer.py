"""Ids, literal special tokens, and text that arrives token by token."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from prompt_folders import TOKENIZERS, first_only, legacy, make_folder
from small_tokenizer import SPECIAL

from triptych.engine.errors import CheckpointError, PromptError
from triptych.engine.prompting.tokenizer import Detokenizer, Tokenizer

TEXT = "the red naïve café 你好，世界 👍🏽 the  end\n ok"


@pytest.fixture(scope="module", params=["legacy", "first-only", "byte-level"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return Tokenizer(TOKENIZERS[request.param]())


LEGACY = Tokenizer(legacy(), {"pad_token": "<pad>"})
FIRST_ONLY = Tokenizer(first_only())


class TestFolder:
    def test_names_of_special_tokens(self, tmp_path: Path) -> None:
        found = Tokenizer.from_folder(make_folder(tmp_path, "mixtral"))
        assert (found.bos_id, found.eos_id) == (1, 2)
        assert found.pad_id == found.token_id("<pad>") is not None
        assert found.vocab_size == max(found.backend.get_vocab().values()) + 1
        assert found.token_text(1) == "<s>"
        assert found.token_text(10**6) is None
        assert found.adds_bos

    def test_fast_tokenizer_only(self, tmp_path: Path) -> None:
        """The slow path of other engines is not there: without tokenizer.json there is a way out, named."""
        (tmp_path / "tokenizer.model").write_bytes(b"sentencepiece")
        with pytest.raises(CheckpointError, match=r"tokenizer\.model but no tokenizer\.json; put the") as caught:
            Tokenizer.from_folder(tmp_path)
        assert "\n" not in str(caught.value)

    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match=r"has no tokenizer\.json"):
            Tokenizer.from_folder(tmp_path)

    @pytest.mark.parametrize("text", ["", "{}", "not json", '{"model": {"type": "BPE"}}'])
    def test_damaged(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "tokenizer.json").write_text(text)
        with pytest.raises(CheckpointError, match="not a usable tokenizer") as caught:
            Tokenizer.from_folder(tmp_path)
        assert "\n" not in str(caught.value)

    def test_damaged_settings(self, tmp_path: Path) -> None:
        make_folder(tmp_path, "mixtral")
        (tmp_path / "tokenizer_config.json").write_text("{")
        with pytest.raises(CheckpointError, match=r"tokenizer_config\.json: cannot be read"):
            Tokenizer.from_folder(tmp_path)

    def test_truncation_and_padding_of_the_file_are_off(self, tmp_path: Path) -> None:
        backend = legacy()
        backend.enable_truncation(4)
        backend.enable_padding(length=64)
        assert len(Tokenizer(backend).encode("the red " * 20)) > 20
        assert len(Tokenizer(backend).encode("a")) < 4

    def test_tokens_that_only_the_settings_name(self) -> None:
        backend = legacy()
        size = backend.get_vocab_size()
        found = Tokenizer(backend, {"added_tokens_decoder": {str(size): {"content": "<extra>", "special": True}}})
        assert found.encode("<extra>", add_bos=False) == [size]
        assert size in found.special_ids
        with pytest.raises(CheckpointError, match="do not belong together"):
            Tokenizer(legacy(), {"added_tokens_decoder": {str(size + 3): {"content": "<extra>"}}})


class TestEncode:
    def test_bos_comes_once(self, tokenizer: Tokenizer) -> None:
        for text in ("the red", "<s>the red", "", "<s>"):
            ids = tokenizer.encode(text)
            assert ids[0] == 1
            assert ids.count(1) == 1
        assert 1 not in tokenizer.encode("the red", add_bos=False)

    def test_no_bos_where_the_file_adds_none(self) -> None:
        backend = legacy()
        backend.post_processor = tokenizers.processors.TemplateProcessing(single="$A", pair="$A $B")
        assert 1 not in Tokenizer(backend).encode("the red")

    def test_special_text_counts(self, tokenizer: Tokenizer) -> None:
        image = tokenizer.token_id("<image>")
        assert tokenizer.encode("a<image>b</s>").count(image) == 1
        assert tokenizer.encode("a<image>b</s>")[-1] == 2

    def test_literal_text_has_no_special_ids_and_reads_the_same(self, tokenizer: Tokenizer) -> None:
        text = "the <image></s> red <s><unk> <pad>"
        ids = tokenizer.encode_literal(text, [], add_bos=False)
        assert not set(ids) & tokenizer.special_ids
        assert tokenizer.decode(ids, skip_special=False) == text

    def test_literal_text_where_special_tokens_are_normalised(self) -> None:
        """Such files miss `b</s>` in ordinary text, as transformers does; a trusted one is never missed."""
        found = Tokenizer(TOKENIZERS["normalised"]())
        ids = found.encode_literal("the</s> red</s>", [(11, 15)])
        assert ids.count(2) == 1
        assert ids[-1] == 2

    def test_trusted_spans_are_the_exception(self, tokenizer: Tokenizer) -> None:
        text = "<image>\nthe <image>"
        ids = tokenizer.encode_literal(text, [(0, 7)])
        assert ids.count(tokenizer.token_id("<image>")) == 1
        assert ids[:2] == [1, tokenizer.token_id("<image>")]

    def test_all_trusted_is_ordinary_encoding(self, tokenizer: Tokenizer) -> None:
        text = "<s>the <image>\nred</s>the"
        spans = [(0, 3), (7, 14), (18, 22)]
        assert tokenizer.encode_literal(text, spans) == tokenizer.encode(text)

    def test_tokenizer_that_builds_a_special_token_by_merging(self) -> None:
        content = json.loads(legacy().to_str())
        content["model"]["vocab"]["<s"] = 9000
        content["model"]["merges"] += [["<s", ">"]] if "<" in content["model"]["vocab"] else []
        content["model"]["merges"] += [["<s>", "a"]]
        content["model"]["vocab"]["<s>a"] = 9001
        found = Tokenizer(tokenizers.Tokenizer.from_str(json.dumps(content)))
        with pytest.raises(PromptError, match="cannot take literally; remove it"):
            found.encode_literal("</s>", [])


class TestDetokenizer:
    def test_pieces_join_to_the_whole(self, tokenizer: Tokenizer) -> None:
        ids = tokenizer.encode(TEXT, add_bos=False)
        stream = Detokenizer(tokenizer)
        pieces = [stream.push([token]) for token in ids] + [stream.flush()]
        assert "".join(pieces) == tokenizer.decode(ids) == TEXT

    def test_characters_are_never_split(self, tokenizer: Tokenizer) -> None:
        stream = Detokenizer(tokenizer)
        for token in tokenizer.encode(TEXT, add_bos=False):
            assert "\ufffd" not in stream.push([token])
        assert stream.flush() == ""

    def test_any_chunking_gives_the_same_text(self, tokenizer: Tokenizer) -> None:
        ids, draw = tokenizer.encode(TEXT * 5, add_bos=False), random.Random(0)
        for _ in range(20):
            stream, text, rest = Detokenizer(tokenizer), "", list(ids)
            while rest:
                count = draw.randint(1, 9)
                text += stream.push(rest[:count])
                rest = rest[count:]
            assert text + stream.flush() == tokenizer.decode(ids)

    def test_special_tokens_have_no_text(self, tokenizer: Tokenizer) -> None:
        ids = tokenizer.encode("the<image> red</s>")
        assert Detokenizer(tokenizer).push([*ids, 2, 2, 2]) == tokenizer.decode(ids)

    def test_unfinished_character_shows_at_the_end_only(self, tokenizer: Tokenizer) -> None:
        ids = tokenizer.encode("a你", add_bos=False)[:-1]
        stream = Detokenizer(tokenizer)
        assert stream.push(ids) == "a"
        rest = stream.flush()
        assert rest
        assert set(rest) == {"\ufffd"}

    def test_leading_space_belongs_to_a_text_that_continues(self) -> None:
        ids = LEGACY.encode("red the", add_bos=False)
        assert Detokenizer(LEGACY).push(ids) == "red the"
        assert Detokenizer(LEGACY, continues=True).push(ids) == " red the"
        pieces = LEGACY.encode("the red", add_bos=False)
        assert "the" + Detokenizer(LEGACY, continues=True).push(pieces[1:]) == LEGACY.decode(pieces)

    def test_invalid_bytes_do_not_dam_the_stream(self) -> None:
        """A model may sample bytes that are no UTF-8 for ever: text comes all the same, and valid text survives."""
        byte = [LEGACY.token_id(f"<0x{value:02X}>") for value in range(256)]
        stream = Detokenizer(LEGACY)
        text = stream.push([byte[0xFF]] * 100)  # type: ignore[list-item]
        assert len(text) >= 90
        assert set(text) == {"\ufffd"}
        text = stream.push(LEGACY.encode(" the red 你好 the", add_bos=False)) + stream.flush()
        assert text.lstrip("\ufffd").split() == ["the", "red", "你好", "the"]

    def test_long_texts_take_steady_time(self) -> None:
        stream = Detokenizer(LEGACY)
        for _ in range(5000):
            stream.push(LEGACY.encode("the", add_bos=False))
        assert len(stream._ids) < 200

    @given(st.text(max_size=40))
    def test_any_text(self, text: str) -> None:
        for each in (LEGACY, FIRST_ONLY):
            ids = each.encode(text, add_bos=False)
            stream = Detokenizer(each)
            assert "".join([stream.push([token]) for token in ids]) + stream.flush() == each.decode(ids)

    @given(st.lists(st.integers(0, LEGACY.vocab_size - 1), max_size=60))
    def test_any_ids(self, ids: list[int]) -> None:
        """Whatever a model samples: text handed out is never taken back, and valid characters all arrive."""
        stream = Detokenizer(LEGACY)
        text = "".join([stream.push([token]) for token in ids]) + stream.flush()
        whole = LEGACY.decode(ids)
        if "\ufffd" not in whole:
            assert text == whole


def test_the_bytes_of_tokens_are_those_of_the_text(tokenizer: Tokenizer) -> None:
    spelled = b"".join(map(tokenizer.token_bytes, tokenizer.encode(TEXT, add_bos=False)))
    assert spelled.removeprefix(b" ") == TEXT.encode()
    assert tokenizer.token_bytes(tokenizer.token_id("</s>")) == b"</s>"
    assert tokenizer.token_bytes(10**6) == b""


def test_special_names_are_those_of_the_folder() -> None:
    assert set(LEGACY.special_texts) == set(SPECIAL)

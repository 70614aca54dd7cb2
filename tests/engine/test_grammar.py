from __future__ import annotations

import json
import random
import re
import threading
from pathlib import Path
from typing import Any

import pytest
from small_tokenizer import EOS, small_tokenizer
from tokenizers import Tokenizer, decoders

import triptych
from triptych.engine.errors import ConstraintError
from triptych.engine.request import Constraint
from triptych.engine.sampling.grammar import GrammarCompiler, Matcher

TOKENIZER = small_tokenizer()
PIECES = TOKENIZER.get_vocab_size()
VOCAB = PIECES + 41  # rows of the head beyond the tokenizer, not a multiple of anything
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 6},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "tags": {"type": "array", "items": {"enum": ["red", "blue", "é"]}, "maxItems": 3},
    },
    "required": ["name", "age", "tags"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def compiler() -> GrammarCompiler:
    return GrammarCompiler(TOKENIZER, VOCAB, [EOS])


def ids_of(text: str) -> list[int]:
    """Token ids that spell `text` piece by piece, without the space a tokenizer puts in front."""
    vocab = TOKENIZER.get_vocab()
    ids: list[int] = []
    for char in text.replace(" ", "\u2581"):
        ids += [vocab[char]] if char in vocab else [vocab[f"<0x{byte:02X}>"] for byte in char.encode()]
    return ids


def accepts(matcher: Matcher, text: str) -> bool:
    """Whether `text` as a whole is allowed, asking the mask before each token."""
    for token in ids_of(text):
        if matcher.finished or not matcher.mask()[token]:
            return False
        matcher.accept(token)
    return matcher.accepting or matcher.finished


def random_text(matcher: Matcher, seed: int, tokenizer: Tokenizer = TOKENIZER, limit: int = 400) -> str | None:
    """A walk through the masks as a model that knows nothing would take it; None if it does not end."""
    choose = random.Random(seed)
    ids: list[int] = []
    while not matcher.finished:
        if len(ids) == limit:
            return None
        token = choose.choice(matcher.mask().nonzero()[:, 0].tolist())
        matcher.accept(token)
        if token != EOS:
            ids.append(token)
    return str(tokenizer.decode(ids))


@pytest.mark.parametrize(
    ("constraint", "good", "bad"),
    [
        (Constraint("choice", ["red", "blue", "b"]), ["red", "blue", "b", " red"], ["re", "redd", "green", "  red"]),
        (Constraint("choice", ['a"b\\', "é", "a/b"]), ['a"b\\', "é", "a/b"], ["a", "e"]),
        (Constraint("regex", r"[0-9]{3}(-[a-z]+)?"), ["123", "123-ab", " 123"], ["12", "123-", "abc"]),
        (Constraint("regex", "(?x) a b # ab"), ["ab"], ["a b", "a"]),
        (Constraint("regex", "a/b|c"), ["a/b", "c"], ["a"]),
        (Constraint("json_object"), ["{}", '{"a": [1, {"b": null}]}', '{\n  "a": 1\n}'], ["[]", "1", "{   }", '{"a"}']),
        (Constraint("json_schema", PERSON), ['{"name": "x", "age": 3, "tags": ["red"]}'], ['{"name": "x"}', "{}"]),
        (Constraint("json_schema", json.dumps(PERSON)), ['{"name":"é","age":150,"tags":[]}'],
         ['{"name":"x","age":151,"tags":[]}', '{"age":1,"name":"x","tags":[]}']),
        (Constraint("json_schema", True), ["1", '"a"', "[true]"], ["a"]),
    ],
)  # fmt: skip
def test_masks_let_exactly_the_right_texts_pass(
    compiler: GrammarCompiler, constraint: Constraint, good: list[str], bad: list[str]
) -> None:
    for text in good:
        assert accepts(compiler.compile(constraint), text), text
    for text in bad:
        assert not accepts(compiler.compile(constraint), text), text


def test_random_walks_give_valid_json(compiler: GrammarCompiler) -> None:
    ended = 0
    for seed in range(60):
        text = random_text(compiler.compile(Constraint("json_schema", PERSON)), seed)
        if text is not None:
            ended += 1
            person = json.loads(text)
            assert list(person) == ["name", "age", "tags"]
            assert len(person["name"]) <= 6
            assert 0 <= person["age"] <= 150
            assert set(person["tags"]) <= {"red", "blue", "é"}
    assert ended > 50


def test_random_walks_match_their_pattern_and_choices(compiler: GrammarCompiler) -> None:
    pattern = r"(yes|no), [a-f]{1,4}é?"
    texts = {random_text(compiler.compile(Constraint("regex", pattern)), seed) for seed in range(40)}
    assert len(texts) > 10
    assert all(text and re.fullmatch(pattern, text) for text in texts)
    choices = ["yes", "no", "the red one"]
    texts = {random_text(compiler.compile(Constraint("choice", choices)), seed) for seed in range(40)}
    assert texts == set(choices)


def test_whitespace_is_bounded(compiler: GrammarCompiler) -> None:
    matcher = compiler.compile(Constraint("json_object"))
    space = TOKENIZER.token_to_id("\u2581")
    matcher.accept(TOKENIZER.token_to_id("{"))
    for _ in range(30):
        if not matcher.mask()[space]:
            break
        matcher.accept(space)
    else:
        pytest.fail("blanks without end")
    assert matcher.mask()[TOKENIZER.token_to_id('"')]


def test_only_real_text_tokens_are_allowed_and_eos_only_at_the_end(compiler: GrammarCompiler) -> None:
    matcher = compiler.compile(Constraint("regex", r"[\s\S]{2,}"))
    never = [0, 1, TOKENIZER.token_to_id("<image>"), TOKENIZER.token_to_id("<pad>"), *range(PIECES, VOCAB)]
    mask = matcher.mask()
    assert mask.shape == (VOCAB,)
    assert not mask[never].any()
    assert not mask[EOS]
    for token in ids_of("ab"):
        matcher.accept(token)
    assert matcher.accepting
    assert not matcher.finished
    mask = matcher.mask()
    assert mask[EOS]
    assert not mask[never].any()
    matcher.accept(EOS)
    assert matcher.finished


def test_characters_without_a_piece_are_spelled_in_bytes(compiler: GrammarCompiler) -> None:
    matcher = compiler.compile(Constraint("choice", ["ü", "ö"]))
    vocab = TOKENIZER.get_vocab()
    first, second = vocab["<0xC3>"], vocab["<0xBC>"]
    assert matcher.mask()[first]
    matcher.accept(first)
    assert matcher.mask().nonzero()[:, 0].tolist() == [vocab["<0xB6>"], second]
    matcher.accept(second)
    assert matcher.finished
    assert TOKENIZER.decode([first, second]) == "ü"


def test_all_eos_ids_end_a_text() -> None:
    other = TOKENIZER.token_to_id("<pad>")
    matcher = GrammarCompiler(TOKENIZER.to_str(), VOCAB, [EOS, other]).compile(Constraint("regex", "a*"))
    assert matcher.mask()[[EOS, other]].all()
    matcher.accept(other)
    assert matcher.finished


def test_a_head_with_fewer_rows_than_the_tokenizer_has_pieces() -> None:
    rows = PIECES - 1
    matcher = GrammarCompiler(TOKENIZER, rows, [EOS]).compile(Constraint("json_object"))
    assert matcher.mask().shape == (rows,)


@pytest.mark.parametrize(
    ("kind", "value", "says"),
    [
        ("json_schema", "{bad", "not valid JSON"),
        ("json_schema", [1], "must be an object"),
        ("json_schema", None, "must be an object"),
        ("json_schema", {"enum": []}, "Unsatisfiable"),
        ("json_schema", {"type": "strin"}, "Invalid type: strin"),
        ("json_schema", {"type": "string", "minLength": 5, "maxLength": 2}, r"minLength \(5\).*maxLength \(2\)"),
        ("json_schema", {"type": "integer", "minimum": 5, "maximum": 2}, r"minimum \(5\).*maximum \(2\)"),
        ("json_schema", {"type": "object", "properties": {"a": {"enum": []}}, "required": ["a"]}, "property 'a'"),
        ("json_schema", {"not": {}}, r'Unimplemented keys: \["not"\]'),
        ("json_schema", {"type": "array", "uniqueItems": True}, "uniqueItems"),
        ("json_schema", {"type": "string", "pattern": "("}, "unclosed group"),
        ("json_schema", {"$ref": "#/nope"}, "/nope"),
        ("json_schema", {"a": {1}}, "not valid JSON"),
        ("regex", "(", "unclosed group"),
        ("regex", "[z-a]", "invalid character class range"),
        ("regex", "(?=a)b", "look-around"),
        ("regex", r"[^\s\S]", "can never be satisfied"),
        ("regex", 7, "must be a string"),
        ("choice", [], "empty"),
        ("choice", None, "empty"),
        ("choice", ["a", ""], "empty"),
        ("choice", "ab", "list of strings"),
        ("choice", ["a", 1], "list of strings"),
    ],
)
def test_errors_are_one_line_and_name_what_is_wrong(
    compiler: GrammarCompiler, kind: Any, value: Any, says: str
) -> None:
    with pytest.raises(ConstraintError, match=says) as caught:
        compiler.compile(Constraint(kind, value))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300
    assert caught.value.name == "constraint"


def test_a_token_the_grammar_does_not_allow_is_an_error(compiler: GrammarCompiler) -> None:
    matcher = compiler.compile(Constraint("choice", ["red"]))
    with pytest.raises(ConstraintError, match="breaks the output constraint"):
        matcher.accept(TOKENIZER.token_to_id("b"))


def test_a_space_in_front_passes_only_where_nobody_sees_it(compiler: GrammarCompiler) -> None:
    for kind, value, text in (("choice", ["a", "b"], "b"), ("regex", "a+", "aa"), ("json_object", None, "{}")):
        constraint = Constraint(kind, value)
        assert accepts(compiler.compile(constraint), " " + text)
        assert accepts(compiler.compile(constraint), text)
        assert accepts(compiler.compile(constraint, continues=True), text)
        assert not accepts(compiler.compile(constraint, continues=True), " " + text)
    plain = small_tokenizer()
    plain.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
    keeps_space = GrammarCompiler(plain, VOCAB, [EOS])
    assert not accepts(keeps_space.compile(Constraint("choice", ["a", "b"])), " b")


def test_matchers_of_one_grammar_are_independent(compiler: GrammarCompiler) -> None:
    first, second = (compiler.compile(Constraint("choice", ["yes", "no"])) for _ in range(2))
    first.accept(TOKENIZER.token_to_id("yes"))
    assert first.finished
    assert not second.finished
    assert second.mask()[TOKENIZER.token_to_id("no")]


def test_the_cache_is_bounded_and_spares_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = GrammarCompiler(TOKENIZER, VOCAB, [EOS], cache_size=2)
    build, built = compiler._build, []
    monkeypatch.setattr(compiler, "_build", lambda *given: built.append(given) or build(*given))
    compiler.compile(Constraint("json_schema", PERSON))
    compiler.compile(Constraint("json_schema", json.dumps(PERSON)))
    assert len(built) == 1
    for pattern in ("a", "b", "c"):
        compiler.compile(Constraint("regex", pattern))
    assert [key[1] for key in compiler._cache] == ["'b'", "'c'"]


def test_compiling_in_many_threads(compiler: GrammarCompiler) -> None:
    failures: list[BaseException] = []

    def work(seed: int) -> None:
        try:
            for turn in range(8):
                pattern = f"[a-d]{{1,{1 + (seed + turn) % 3}}}"
                text = random_text(compiler.compile(Constraint("regex", pattern)), seed)
                assert text is not None
                assert re.fullmatch(pattern, text)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


PACKAGED = sorted((Path(triptych.__file__).parent / "embedded" / "models").glob("*/tokenizer.json"))


@pytest.mark.parametrize("file", PACKAGED, ids=lambda file: file.parent.name)
def test_the_packaged_tokenizers(file: Path) -> None:
    tokenizer = Tokenizer.from_file(str(file))
    vocab = (tokenizer.get_vocab_size() + 63) // 64 * 64
    compiler = GrammarCompiler(tokenizer, vocab, [tokenizer.token_to_id("</s>")])
    constraint = Constraint("choice", ["yes", "no"])
    texts = {random_text(compiler.compile(constraint), seed, tokenizer) for seed in range(20)}
    assert texts == {"yes", "no"}

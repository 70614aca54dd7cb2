"""Log-probabilities in both forms."""

from math import inf

import pytest

from triptych.replica.protocol import Logprob, Piece
from triptych.server.dialects.openai.logprobs import (
    Offsets,
    chat_logprobs,
    completion_logprobs,
    prompt_logprobs,
    shown_logprobs,
)


def entry(spelled: bytes, logprob: float = -0.5, top=(), token: int = 7) -> Logprob:
    return Logprob(token, logprob, 1, spelled, list(top))


# ---- chats ----------------------------------------------------------------------------------------------------------


def test_an_entry_has_all_four_keys_and_true_bytes():
    assert chat_logprobs([entry(b" bus"), entry(b"\xc3")]) == [
        {"token": " bus", "logprob": -0.5, "bytes": [32, 98, 117, 115], "top_logprobs": []},
        {"token": "\ufffd", "logprob": -0.5, "bytes": [195], "top_logprobs": []},
    ]


def test_the_likeliest_come_first_and_ties_by_id():
    top = [(9, -2.0, b"c"), (5, -1.0, b"b"), (3, -1.0, b"a"), (1, -inf, b"d")]
    [found] = chat_logprobs([entry(b"x", -inf, top)])
    assert [(shown["token"], shown["logprob"]) for shown in found["top_logprobs"]] == [
        ("a", -1.0), ("b", -1.0), ("c", -2.0), ("d", -9999.0),
    ]  # fmt: skip
    assert found["logprob"] == -9999.0


def test_tokens_as_ids():
    [found] = chat_logprobs([entry(b"x", top=[(3, -1.0, b"a")])], as_ids=True)
    assert (found["token"], found["bytes"], found["top_logprobs"][0]["token"]) == ("token_id:7", [120], "token_id:3")


@pytest.mark.parametrize(
    ("piece", "shown"),
    [
        (Piece(0, " a", [7], [entry(b" a")]), 1),
        (Piece(0, "", [2], [entry(b"</s>")], "stop"), 0),  # the end token
        (Piece(0, "held back", [2], [entry(b"</s>")], "stop"), 0),
        (Piece(0, "}", [7], [entry(b"}")], "stop"), 1),  # a grammar is complete without an end token
        (Piece(0, "a", [7], [entry(b" a")], "stop"), 1),
        (Piece(0, "", [7], [entry(b" a")], "stop", 7), 0),  # a stop token
        (Piece(0, "a", [7], [entry(b" a")], "stop", 7), 0),
        (Piece(0, "", [7], [entry(b"END")], "stop", "END"), 1),  # a stop string is made of tokens of the text
        (Piece(0, " a", [7], [entry(b" a")], "length"), 1),
        (Piece(0, "", [7], [], "stop"), 0),
        (Piece(0, "b", [7, 2], [entry(b"b"), entry(b"</s>")], "stop"), 1),
    ],
)
def test_the_token_that_only_ends_the_text_is_not_shown(piece, shown):
    assert len(shown_logprobs(piece)) == shown


# ---- completions ----------------------------------------------------------------------------------------------------


def test_four_lists_side_by_side():
    entries = [None, entry(b"The", -7.1, [(4, -1.4, b"\n")]), entry(b" sky", -2.0, [(7, -2.0, b" sky")])]
    assert completion_logprobs(entries, ["<s>"], Offsets("The sky")) == {
        "tokens": ["<s>", "The", " sky"],
        "token_logprobs": [None, -7.1, -2.0],
        "top_logprobs": [None, {"\n": -1.4, "The": -7.1}, {" sky": -2.0}],
        "text_offset": [0, 0, 3],
    }


def test_a_token_alone_and_two_that_are_spelled_alike():
    assert completion_logprobs([entry(b"a", -inf)], (), Offsets("a"))["top_logprobs"] == [{"a": -9999.0}]
    top = [(5, -1.0, b"a"), (6, -3.0, b"b")]
    assert completion_logprobs([entry(b"a", -2.0, top)], (), Offsets("a"))["top_logprobs"] == [{"a": -1.0, "b": -3.0}]


def test_tokens_as_ids_in_a_completion():
    found = completion_logprobs([entry(b"ab", top=[(5, -1.0, b"c")]), entry(b"d")], (), Offsets("abd"), as_ids=True)
    assert found["tokens"] == ["token_id:7", "token_id:7"]
    assert found["top_logprobs"][0] == {"token_id:5": -1.0, "token_id:7": -0.5}
    assert found["text_offset"] == [0, 2]


@pytest.mark.parametrize(
    ("text", "tokens", "offsets", "said"),
    [
        ("<s> The sky", [b"<s>", b" ", b"The", b" sky"], [0, 3, 4, 7], ["<s>", " ", "The", " sky"]),
        ("The sky", [b"<s>", b" ", b"The", b" sky"], [0, 0, 0, 3], ["<s>", "", "The", " sky"]),
        ("The sky", [b" The", b" sky", b"</s>"], [0, 3, 7], ["The", " sky", "</s>"]),
        ("né à", [b"n", b"\xc3", b"\xa9", b" ", b"\xc3\xa0"], [0, 1, 2, 2, 3], ["n", "\ufffd", "\ufffd", " ", "à"]),
        ("one", [b"one", b" STOP", b"</s>"], [0, 3, 3], ["one", " STOP", "</s>"]),
    ],
)  # fmt: skip
def test_offsets_are_characters_of_the_text(text, tokens, offsets, said):
    found = completion_logprobs([entry(token) for token in tokens], (), Offsets(text))
    assert found["text_offset"] == offsets
    assert found["tokens"] == said


def test_tokens_wait_for_a_text_that_grows():
    offsets = Offsets()
    assert offsets.waits(b"ab")
    offsets.grow("a")
    assert offsets.waits(b"ab")
    assert not offsets.waits(b"a")
    assert not offsets.waits(b"xy")  # a special that is never shown
    offsets.grow("bc")
    assert offsets.place(b"ab") == (0, b"ab")
    assert offsets.waits(b"cd")
    assert offsets.place(b"c") == (2, b"c")


def test_prompt_logprobs_by_id():
    scored = [None, Logprob(7, -2.0, 5, b"x", [(3, -0.1, b"a"), (4, -inf, b"\xff")])]
    assert prompt_logprobs(scored) == [
        None,
        {
            "3": {"logprob": -0.1, "rank": 1, "decoded_token": "a"},
            "4": {"logprob": -9999.0, "rank": 2, "decoded_token": "\ufffd"},
            "7": {"logprob": -2.0, "rank": 5, "decoded_token": "x"},
        },
    ]

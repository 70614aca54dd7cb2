"""Whatever is written as code is a literal there, and means what went in: read back by Python, Node and a shell."""

from __future__ import annotations

import ast
import json
import os
import subprocess
from typing import Any

import pytest
from client_environments import command_of
from hypothesis import example, given, settings
from hypothesis import strategies as st

from triptych.server.web.recipes import UnwritableError
from triptych.server.web.recipes.literals import Code, arguments, javascript, python, shell_json, word

# Quotes, signs of each language, what ends lines somewhere, halves of pairs, and what turns others around.
NASTY = "'\"`$\\!{}%\n\r\0\x1b\x7f\x85\u2028\u202e\u200b\ud800\udc00\U0001f600\U000e0001é "
TEXTS = st.text(st.sampled_from(NASTY) | st.characters(), max_size=30)
KEYS = TEXTS | st.sampled_from(["__proto__", "constructor", "toString", "a b", "class", "", "1"])
NUMBERS = st.integers(-(1 << 53) + 1, (1 << 53) - 1) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    TEXTS | NUMBERS | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=20,
)


def inert(code: str) -> None:
    """Nothing in it is hidden, and it can be kept in a file."""
    assert code.replace("\n", "").isprintable()
    code.encode()


@given(VALUES, st.integers(0, 90))
def test_python_reads_the_value_back(value: Any, column: int) -> None:
    code = python(value, column)
    inert(code)
    assert ast.literal_eval(code) == value


@given(VALUES)
def test_python_reads_arguments_back(value: Any) -> None:
    code = f"f({arguments({'': value, 'named': value, 'other': Code('f()')}, 0, 2)})"
    call = ast.parse(code, mode="eval").body
    assert isinstance(call, ast.Call)
    [first], [named, other] = call.args, call.keywords
    assert (ast.literal_eval(first), ast.literal_eval(named.value)) == (value, value)
    assert isinstance(other.value, ast.Call)


@settings(max_examples=10)
@given(st.lists(VALUES, min_size=10, max_size=20))
@example([NASTY, {"__proto__": {"x": 1}}, {"__proto__": None, "a": 1}])
def test_node_reads_the_value_back(values: list[Any]) -> None:
    node = command_of("node")
    code = ",\n".join(f"({javascript(value)})" for value in values)
    inert(code)
    done = subprocess.run(
        [node, "--input-type=module"], input=f"console.log(JSON.stringify([{code}]));", capture_output=True, text=True,
        timeout=30,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout, parse_int=float) == as_json(values)


@settings(max_examples=10)
@given(st.lists(VALUES, min_size=10, max_size=20), TEXTS.filter(str.isprintable))
@example([NASTY, {"'": "it's '\"'$image'\"'"}], '$image `"')
def test_a_shell_reads_the_value_back(values: list[Any], variable: str) -> None:
    """The variable is put between the quotes of a JSON string and stays one word, whatever is in it."""
    words = [shell_json(value) for value in values]
    for each in words:
        inert(each)
    *read, last = shell([*words, shell_json({"url": Code("$image")})], {"image": variable.encode()})
    assert [json.loads(each, parse_int=float) for each in read] == as_json(values)
    assert last == f'{{"url": "{variable}"}}'.encode()


@settings(max_examples=10)
@given(st.lists(TEXTS.filter(lambda text: "\0" not in text), min_size=10, max_size=20))
@example(["", "-x", "~", "*", "a=b", NASTY.replace("\0", ""), "it's\n\\x41"])
def test_a_shell_reads_a_word_back(texts: list[str]) -> None:
    words = [word(text) for text in texts]
    for each in words:
        inert(each)
    assert shell(words, {}) == [text.encode("utf-8", "surrogatepass") for text in texts]


def test_what_cannot_be_written_is_said() -> None:
    deep: list[Any] = []
    for _ in range(200):
        deep = [deep]
    for value in (float("nan"), float("inf"), deep, object(), b"bytes"):
        for write in (python, javascript, shell_json):
            with pytest.raises(UnwritableError):
                write(value)
    with pytest.raises(UnwritableError, match="zero byte"):
        word("a\0b")


def test_long_values_are_broken_into_lines() -> None:
    value = {"model": "m", "messages": [{"role": "user", "content": "word " * 20}], "stop": []}
    assert python(value) == (
        '{\n    "model": "m",\n    "messages": [\n        {\n            "role": "user",\n            "content": "'
        + "word " * 20
        + '",\n        },\n    ],\n    "stop": [],\n}'
    )
    assert javascript({"a b": [True, None]}) == '{ "a b": [true, null] }'


def as_json(value: Any) -> Any:
    """Two halves of a pair beside each other are one character there, and all numbers are of one kind."""
    return json.loads(json.dumps(value), parse_int=float)


def shell(words: list[str], variables: dict[str, bytes]) -> list[bytes]:
    """The words as a program gets them."""
    command = [command_of("bash"), "-c", "printf '%s\\0' " + " \\\n".join(words)]
    found = {os.fsencode(name): value for name, value in {"PATH": b"/nonexistent", **variables}.items()}
    done = subprocess.run(command, env=found, capture_output=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout.split(b"\0")[:-1]

"""Nothing that a caller writes becomes code: whole programs, run before clients that only record what they are told."""

from __future__ import annotations

import ast
import base64
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from client_environments import command_of
from hypothesis import example, given, settings
from hypothesis import strategies as st

from triptych.server.web.recipes import DIALECTS, Call, Language, recipe

BASE = "http://host.example"
SIGNS = "'\"`$\\{}!%#;&|()<>*?~-= \n\r\x1b\x85\u2028\u202ex"
TEXTS = st.text(st.sampled_from(SIGNS) | st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
FILES = TEXTS.filter(lambda name: not set(name) & {"/", "\0"}).map(lambda name: f"{name}.png")
WORST = """'; touch pwned; ' "); touch('pwned') $(touch pwned) `touch pwned` \\' \\" \\n !! %s END"""
PICTURE = b"\x89PNG\r\n\x1a\n"
URI = f"data:image/png;base64,{base64.b64encode(PICTURE).decode()}"

# What stands for curl: it tells its arguments and its input, each behind a zero byte.
CURL = """#!{bash}
printf '\\0%s' "$@"
printf '\\0'
cat
"""
# What stands for the clients of Node.
PACKAGES = {
    "openai": """
        const create = async (body) => { told(body.messages); return { choices: [{ message: { content: "" } }] }; };
        export default class { chat = { completions: { create } }; }""",
    "replicate": "export default class { async run(name, { input }) { told(input); return []; } }",
    "@runware/sdk-js": """
        const caption = async (task) => { told(task.inputs); return {}; };
        export const Runware = { initialize: async () => ({ caption, disconnect() {} }) };""",
}


def calls(prompt: str, file: str, language: Language, key: bool = True) -> list[str]:
    """A question about a picture as a program for each dialect."""
    call = Call.asking("m", prompt, file, names=("o/m",), system=prompt, sees=True)
    return [recipe(dialect, language, call, BASE, key).code for dialect in DIALECTS]


@pytest.fixture(scope="module")
def place() -> Iterator[Callable[[str], Path]]:
    """Gives an empty folder that has the picture, under the name."""
    with TemporaryDirectory() as home:

        def make(file: str) -> Path:
            folder = Path(home, "place")
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            Path(folder, file).write_bytes(PICTURE)
            return folder

        yield make


@settings(max_examples=50)
@given(TEXTS, FILES, st.booleans())
@example(WORST, f"{WORST.replace('/', '')}.png", True)
def test_python(prompt: str, file: str, key: bool) -> None:
    """A program has the same parts whatever is asked, and the texts are among its constants."""
    for made, tame in zip(calls(prompt, file, "python", key), calls("x", "x.png", "python", key), strict=True):
        program = ast.parse(made)
        parts = [[type(node) for node in ast.walk(each)] for each in (program, ast.parse(tame))]
        assert parts[0] == parts[1]
        assert {prompt, file} <= {node.value for node in ast.walk(program) if isinstance(node, ast.Constant)}


@settings(max_examples=12)
@given(prompt=TEXTS, file=FILES)
@example(prompt=WORST, file=f"{WORST.replace('/', '')}.png")
def test_curl(prompt: str, file: str, place: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> None:
    """Curl gets the same words whatever is asked, and a body in which the texts stand; nothing else is run."""
    tools = Path(tmp_path_factory.getbasetemp(), "tools")
    if not tools.is_dir():
        tools.mkdir()
        for tool in ("base64", "cat", "tr"):
            (tools / tool).symlink_to(command_of(tool))
        (tools / "curl").write_text(CURL.format(bash=command_of("bash")))
        (tools / "curl").chmod(0o755)
    folder = place(file)
    for number, program in enumerate(calls(prompt, file, "curl")):
        done = subprocess.run(
            [command_of("bash"), "-c", program], cwd=folder, env={"PATH": str(tools), "HOME": "/nonexistent"},
            capture_output=True, timeout=30,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, b"")
        _, *words, body = done.stdout.split(b"\0")
        assert words[0].startswith(BASE.encode())
        assert words[1:3] == [b"-H", b"authorization: Bearer "]
        assert words[-2:] == [b"-d", b"@-"]
        assert texts_of(number, json.loads(body)) == [prompt, URI]
    assert os.listdir(folder) == [file]


@settings(max_examples=12)
@given(prompt=TEXTS, file=FILES)
@example(prompt=f"{WORST}\x85\u2028", file=f"{WORST.replace('/', '')}.png")
def test_javascript(prompt: str, file: str, place: Callable[[str], Path]) -> None:
    """Clients are told the texts, and nothing else is done."""
    folder = place(file)
    packages = folder.parent / "node_modules"
    for name, text in PACKAGES.items():
        (packages / name).mkdir(parents=True, exist_ok=True)
        (packages / name / "package.json").write_text(json.dumps({"name": name, "type": "module", "main": "index.js"}))
        (packages / name / "index.js").write_text(text)
    made = calls(prompt, file, "javascript")
    for number, program in enumerate(made):
        (folder.parent / f"{number}.mjs").write_text(program)
    run = "globalThis.told = (body) => process.stdout.write(JSON.stringify(body) + '\\n'); console.log = () => {};\n"
    run += "".join(f'await import("{folder.parent}/{number}.mjs");\n' for number in range(len(made)))
    done = subprocess.run(
        [command_of("node"), "--input-type=module"], cwd=folder, input=run, capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    messages, inputs, task = (json.loads(line) for line in done.stdout.removesuffix("\n").split("\n"))
    assert texts_of(0, {"messages": messages}) == [prompt, URI]
    assert (inputs["prompt"], bytes(inputs["image"]["data"])) == (prompt, PICTURE)
    assert (task["prompt"], task["image"]) == (prompt, URI)
    assert os.listdir(folder) == [file]


def texts_of(dialect: int, body: dict | list) -> list[str]:
    """The question and the picture in a body of a dialect, by its place among them."""
    if dialect == 0:
        system, user = body["messages"]
        image, text = user["content"]
        assert system == {"role": "system", "content": text["text"]}
        return [text["text"], image["image_url"]["url"]]
    if dialect == 1:
        return [body["input"]["prompt"], body["input"]["image"]]
    [task] = body
    return [task["prompt"], task["inputs"]["image"]]

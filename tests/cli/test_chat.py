"""`triptych chat`, once and in conversation."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

TALK = """
import sys
import triptych.llm
from fake_engine import FakeEngine
from triptych.cli import main
triptych.llm.Engine = FakeEngine
main(sys.argv[1:])
"""


def test_a_question_is_answered_on_stdout_and_the_model_named_on_stderr(cli):
    result = cli("chat", "-m", "Hello there")
    assert result.exit_code == 0
    assert result.stdout == "Hello there turn 1\n"
    assert result.stderr.startswith("triptych/tiny-llava-1.6 (llava_next, fp32 on cpu): a small demonstration model")


def test_the_question_may_come_from_standard_input(cli):
    assert cli("chat", "-q", stdin="What now?\n").stdout == "What now? turn 1\n"
    empty = cli("chat", stdin="  \n")
    assert (empty.exit_code, empty.stdout) == (2, "")
    assert "the question is empty" in empty.stderr
    assert cli.engines[1:] == []


def test_images_come_before_the_question(cli, picture):
    words = ("--image", picture("a.png", 3, 4), "-i", picture("b.png", 5, 6))
    assert cli("chat", "-m", "x", *words).stdout == "x turn 1 3x4 5x6\n"


def test_options_arrive(cli):
    result = cli(
        "chat", "-q", "-m", "one two three", "--system", "Be brief", "--max-tokens", "2", "--temperature", "0.5",
        "--top-p", "0.9", "--seed", "3", "--precision", "int4", "--model", "triptych/tiny-mixtral",
    )  # fmt: skip
    assert result.stdout == "one two\n"
    assert result.stderr == ""
    engine = cli.engines[0]
    assert engine.prompts[0][0] == {"role": "system", "content": "Be brief"}
    assert (engine.config.precision, engine.config.name) == ("int4", "triptych/tiny-mixtral")
    assert engine.closed


def test_the_model_may_come_from_the_environment(cli, monkeypatch):
    monkeypatch.setenv("TRIPTYCH_MODEL", "triptych/tiny-mixtral")
    cli("chat", "-m", "x")
    assert cli.engines[0].config.name == "triptych/tiny-mixtral"


def test_a_chat_template_is_named_or_read_from_a_file(cli, tmp_path):
    (tmp_path / "template.jinja").write_text("{{ messages[0].content }}")
    cli("chat", "-m", "x", "--chat-template", "vicuna_v1")
    cli("chat", "-m", "x", "--chat-template", tmp_path / "template.jinja")
    assert [engine.config.chat_template for engine in cli.engines] == ["vicuna_v1", "{{ messages[0].content }}"]
    refused = cli("chat", "-m", "x", "--chat-template", tmp_path / "missing.jinja")
    assert refused.exit_code == 2
    assert "neither vicuna, vicuna_v1, mistral nor a file" in refused.stderr


def test_stats_go_to_stderr(cli, picture):
    result = cli("chat", "-q", "-m", "x", "--image", picture("a.png"), "--stats")
    assert result.stderr == (
        "(10 prompt tokens, 0 of them cached, 2 of images; 4 generated; first token after 0.20 s, 10.0 tokens/s)\n"
    )


@pytest.mark.parametrize(
    ("words", "code", "cause"),
    [
        (["-m", "x", "--image", "missing.png"], 1, "missing.png"),
        (["-m", "x", "--temperature", "-1"], 1, "temperature"),
        (["-m", "x", "--top-p", "2"], 1, "top_p"),
        (["-m", "explode"], 1, "it exploded"),
        (["-m", ""], 2, "the question is empty"),
        (["-m", "x", "--max-tokens", "0"], 2, "max-tokens"),
        (["-m", "x", "--model", "nothing"], 1, "no model is called 'nothing'"),
        (["extra"], 2, "extra"),
    ],
)
def test_mistakes_are_one_line(cli, words, code, cause):
    result = cli("chat", "-q", *words)
    assert (result.exit_code, result.stdout) == (code, "")
    assert result.stderr.startswith("error: ")
    assert cause in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_text_model_refuses_an_image(cli, picture):
    cli.vision = False
    result = cli("chat", "-q", "-m", "x", "--image", picture("a.png"), "--model", "triptych/tiny-mixtral")
    assert result.exit_code == 1
    assert "triptych/tiny-mixtral takes no images; start with a LLaVA model" in result.stderr


def talk(*lines: str, words: tuple[str, ...] = ()) -> str:
    """What a terminal shows of a conversation in which a person types `lines` and then Ctrl-D."""
    master, slave = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent / "support"), "TERM": "dumb"}
    command = [sys.executable, "-c", TALK, "chat", *words]
    process = subprocess.Popen(command, stdin=slave, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment)
    os.close(slave)
    os.write(master, "".join(f"{line}\n" for line in lines).encode() + b"\x04")
    shown = process.communicate(timeout=60)[0].decode()
    os.close(master)
    assert process.returncode == 0, shown
    return shown


def test_a_conversation_remembers_shows_images_and_survives_mistakes(picture):
    one, two = picture("one.png", 1, 1), picture("two.png", 2, 2)
    shown = talk(
        "", "first", f"/image {one}", "second", "/image missing.png", "/image", "/what", "explode", f"/image '{two}'",
        "third", "/reset", "fourth", "/quit", "never",
    )  # fmt: skip
    assert "small demonstration model" in shown
    assert "/help lists the rest" in shown
    assert "first turn 1\n" in shown
    assert f"{one}: 1x1 pixels" in shown
    assert "second turn 3 1x1\n" in shown
    assert "error: missing.png" in shown
    assert "give a path: /image PATH" in shown
    assert shown.count("/reset        forget") == 1
    assert "error: it exploded" in shown
    assert "third turn 5 1x1 2x2\n" in shown
    assert "(forgotten)" in shown
    assert "fourth turn 1\n" in shown
    assert "never" not in shown


def test_ctrl_d_ends_a_conversation(picture):
    shown = talk("hello", words=("--image", str(picture("a.png", 7, 7)), "--quiet"))
    assert shown == "> hello turn 1 7x7\n> \n"

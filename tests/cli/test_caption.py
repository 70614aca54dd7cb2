"""`triptych caption`: every option, what it writes, and what it does about bad input."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

MODEL = "triptych/tiny-llava-1.6"


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_one_file_prints_the_caption_alone(cli, picture):
    result = cli("caption", picture("a.png", 8, 6))
    assert result.exit_code == 0
    assert result.stdout == "Describe the picture. turn 1 8x6\n"
    assert "captioned 1 image" in result.stderr


def test_several_files_are_named_and_keep_their_order(cli, picture):
    paths = [picture(f"{name}.png", 10 + name, 5) for name in range(20)]
    result = cli("caption", *paths, "--prompt", "Hi")
    assert result.stdout.splitlines() == [f"{path}: Hi turn 1 {10 + i}x5" for i, path in enumerate(paths)]


def test_a_line_end_in_a_caption_does_not_make_two_lines(cli, picture):
    assert cli("caption", picture("a.png"), "--prompt", "two\nlines").stdout == "two lines turn 1 8x6\n"


def test_folders_are_searched_deeply_patterns_expanded_and_doubles_dropped(cli, picture, tmp_path):
    for name in ("in/a.png", "in/deep/b.JPG", "in/.hidden/c.png", "in/.d.png", "other/e.webp"):
        picture(name)
    (tmp_path / "in/notes.txt").write_text("not an image")
    result = cli("caption", tmp_path / "in", f"{tmp_path}/**/*.webp", tmp_path / "in/a.png", "--format", "jsonl")
    found = [json.loads(line)["path"] for line in result.stdout.splitlines()]
    assert found == [str(tmp_path / name) for name in ("in/a.png", "in/deep/b.JPG", "other/e.webp")]


def test_jsonl_has_the_promised_fields(cli, picture):
    path = picture("a.png")
    [record] = [json.loads(line) for line in cli("caption", path, "--format", "jsonl").stdout.splitlines()]
    assert record == {
        "path": str(path), "model": MODEL, "text": "Describe the picture. turn 1 8x6", "prompt_tokens": 10,
        "image_tokens": 2, "completion_tokens": 6, "seconds": 0.4,
    }  # fmt: skip


def test_csv_has_a_header_and_the_same_fields(cli, picture, tmp_path):
    path = picture("a,\"b\".png")
    result = cli("caption", path, tmp_path / "missing.png", "--format", "csv", "--prompt", "one\ntwo")
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert [row["path"] for row in rows] == [str(path), str(tmp_path / "missing.png")]
    assert rows[0]["text"] == "one\ntwo turn 1 8x6"
    assert rows[0]["image_tokens"] == "2"
    assert rows[0]["error"] == ""
    assert "no such file" in rows[1]["error"]
    assert rows[1]["text"] == rows[1]["prompt_tokens"] == ""


def test_max_tokens_prompt_and_engine_options_arrive(cli, picture):
    result = cli(
        "caption", picture("a.png"), "--max-tokens", "2", "--prompt", "one two three", "--precision", "int8",
        "--device", "cpu", "--threads", "1", "--max-context", "512", "--kv-memory", "64M", "--preprocess", "pad",
        "--batch-size", "3",
        "--model", "triptych/tiny-llava-1.5",
    )  # fmt: skip
    assert result.stdout == "one two\n"
    config = cli.engines[0].config
    assert (config.precision, config.device, config.threads, config.max_context) == ("int8", "cpu", 1, 512)
    assert (config.kv_memory, config.preprocess, config.max_rows) == (64 << 20, "pad", 3)
    assert config.name == "triptych/tiny-llava-1.5"
    assert cli.engines[0].closed


def test_requests_in_flight_are_many_but_bounded(cli, picture, tmp_path):
    for number in range(40):
        picture(f"in/{number}.png")
    cli.delay = 0.002
    assert cli("caption", tmp_path / "in", "--batch-size", "4", "--prompt", "x").exit_code == 0
    assert 4 <= cli.engines[0].most_in_flight <= 8


def test_quiet_says_nothing_but_errors(cli, picture, tmp_path):
    result = cli("caption", picture("a.png"), tmp_path / "no.png", "-q")
    assert result.stderr.startswith(f"error: {tmp_path / 'no.png'}: ")
    assert result.stderr.count("\n") == 1


# ---- bad images ------------------------------------------------------------------------------------------------


@pytest.fixture
def bad(tmp_path, picture):
    """Broken images by name, and what their errors must mention."""
    picture("whole.png", 300, 300)
    noise = Image.frombytes("RGB", (300, 300), os.urandom(270_000))
    noise.save(tmp_path / "noise.jpg")
    (tmp_path / "truncated.jpg").write_bytes((tmp_path / "noise.jpg").read_bytes()[:20_000])
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.png").write_text("hello")
    causes = {"empty.png": "empty", "text.png": "not an image", "truncated.jpg": "truncated"}
    return {**causes, "missing.png": "no such file"}


def test_broken_images_are_reported_and_skipped(cli, bad, tmp_path, picture):
    good = [picture("first.png"), picture("last.png")]
    out = tmp_path / "out.jsonl"
    names = [good[0], *(tmp_path / name for name in bad), good[1]]
    result = cli("caption", *names, "--format", "jsonl", "--out", out)
    assert result.exit_code == 1
    records = lines(out)
    assert [record["path"] for record in records] == [str(name) for name in names]
    assert [record["path"] for record in records if "text" in record] == [str(path) for path in good]
    for record, cause in zip(records[1:-1], bad.values(), strict=True):
        assert set(record) == {"path", "error"}
        assert cause in record["error"]
        assert f"error: {record['path']}: {record['error']}\n" in result.stderr
    assert "captioned 2 images" in result.stderr
    assert "4 failed" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "CMYK", "I;16", "F"])
def test_unusual_modes_are_captioned(cli, tmp_path, mode):
    path = tmp_path / f"a.{'tiff' if mode in ('CMYK', 'I;16', 'F') else 'png'}"
    Image.new(mode, (9, 7)).save(path)
    assert cli("caption", path, "--prompt", "x").stdout == "x turn 1 9x7\n"


def test_extreme_shapes_animations_and_rotations_are_captioned(cli, tmp_path):
    Image.new("RGB", (1, 2000)).save(tmp_path / "thin.png")
    frames = [Image.new("P", (5, 4), color) for color in (1, 2)]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (30, 10)).save(tmp_path / "turned.jpg", exif=exif)
    result = cli("caption", tmp_path / "thin.png", tmp_path / "moving.gif", tmp_path / "turned.jpg", "--prompt", "x")
    assert [line.rsplit(" ", 1)[1] for line in result.stdout.splitlines()] == ["1x2000", "5x4", "10x30"]


def test_a_failing_request_does_not_hurt_the_others(cli, picture):
    paths = [picture("a.png"), picture("b.png")]
    result = cli("caption", *paths, "--prompt", "explode")
    assert result.exit_code == 1
    assert result.stderr.count("it exploded") == 2


# ---- usage -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        ([], "PATHS"),
        (["{folder}"], "no images found"),
        (["{image}", "--format", "xml"], "xml"),
        (["{image}", "--max-tokens", "0"], "0"),
        (["{image}", "--batch-size", "x"], "x"),
        (["{image}", "--kv-memory", "lots"], "lots"),
        (["{image}", "--precision", "fp8"], "fp8"),
        (["{image}", "--nope"], "--nope"),
        (["{image}", "--out", "{folder}"], "is a directory"),
        (["{image}", "--out", "{folder}/none/x.jsonl"], "no folder"),
        (["{image}", "--out", "{folder}/x.txt", "--format", "sidecar"], "--out"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(cli, picture, tmp_path, words, cause):
    (tmp_path / "folder").mkdir()
    places = {"folder": tmp_path / "folder", "image": picture("a.png")}
    result = cli("caption", *(word.format(**places) for word in words))
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert cause in result.stderr
    assert list((tmp_path / "folder").iterdir()) == []


def test_an_unknown_model_is_one_line_and_exit_code_1(cli, picture):
    result = cli("caption", picture("a.png"), "--model", "triptych/huge")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: no model is called 'triptych/huge': use one of ")
    assert result.stderr.count("\n") == 1


def test_a_text_model_says_that_it_takes_no_images(cli, picture):
    cli.vision = False
    result = cli("caption", picture("a.png"), "--model", "triptych/tiny-mixtral")
    assert result.exit_code == 2
    assert "takes no images" in result.stderr


# ---- files, and going on where it stopped ------------------------------------------------------------------------


@pytest.mark.parametrize("format_", ["jsonl", "csv"])
def test_a_second_run_does_only_what_is_missing(cli, picture, tmp_path, format_):
    out = tmp_path / f"out.{format_}"
    first = [picture("a.png", 1, 1), picture("b.png", 2, 2)]
    words = ("--format", format_, "--out", out, "--prompt", "x\ny")
    assert cli("caption", *first, *words).exit_code == 0
    before = out.read_bytes()
    result = cli("caption", *first, picture("c.png", 3, 3), *words)
    assert "captioned 1 image" in result.stderr
    assert "2 already done" in result.stderr
    assert out.read_bytes().startswith(before)
    assert out.read_bytes().count(b"3x3") == 1
    assert len(cli.engines[1].prompts) == 1


@pytest.mark.parametrize("format_", ["jsonl", "csv"])
def test_failed_images_and_a_torn_last_line_are_done_again(cli, picture, tmp_path, format_):
    out = tmp_path / f"out.{format_}"
    paths = [picture("a.png"), tmp_path / "late.png", picture("z.png")]
    words = ("--format", format_, "--out", out)
    assert cli("caption", *paths, *words).exit_code == 1
    whole = out.read_bytes()
    out.write_bytes(whole[:-20])
    picture("late.png")
    assert cli("caption", *paths, *words).exit_code == 0
    text = out.read_text()
    assert text.count("a.png") == text.count("late.png") == text.count("z.png") == 1
    assert "no such file" not in text
    assert text.endswith("\n")


@pytest.mark.parametrize("words", [("--format", "sidecar"), ("--format", "jsonl", "--out", "{out}")])
def test_when_everything_is_done_no_model_is_loaded(cli, picture, tmp_path, words):
    words = [word.format(out=tmp_path / "out.jsonl") for word in words]
    path = picture("a.png")
    assert cli("caption", path, *words).exit_code == 0
    again = cli("caption", path, *words)
    assert (again.exit_code, len(cli.engines)) == (0, 1)
    assert "1 already done" in again.stderr


def test_overwrite_starts_again(cli, picture, tmp_path):
    out, path = tmp_path / "out.jsonl", picture("a.png")
    for prompt in ("one", "two"):
        cli("caption", path, "--format", "jsonl", "--out", out, "--overwrite", "--prompt", prompt)
    assert [record["text"] for record in lines(out)] == ["two turn 1 8x6"]


def test_text_goes_to_a_file_but_cannot_be_continued(cli, picture, tmp_path):
    out, path = tmp_path / "out.txt", picture("a.png")
    assert cli("caption", path, "--out", out, "--prompt", "x").exit_code == 0
    assert out.read_text() == f"{path}: x turn 1 8x6\n"
    again = cli("caption", path, "--out", out)
    assert again.exit_code == 2
    assert "--overwrite" in again.stderr


@pytest.mark.parametrize(
    ("format_", "content"), [("jsonl", "shopping list\n"), ("csv", "a,b\n1,2\n"), ("jsonl", "[1]\n")]
)
def test_a_foreign_file_is_left_alone(cli, picture, tmp_path, format_, content):
    out = tmp_path / "mine"
    out.write_text(content)
    result = cli("caption", picture("a.png"), "--format", format_, "--out", out)
    assert result.exit_code == 2
    assert "line 1" in result.stderr
    assert out.read_text() == content


def test_captions_of_another_model_are_not_mixed_in(cli, picture, tmp_path):
    out, path = tmp_path / "out.jsonl", picture("a.png")
    cli("caption", path, "--format", "jsonl", "--out", out, "--model", "triptych/tiny-llava-1.5")
    before = out.read_text()
    result = cli("caption", path, "--format", "jsonl", "--out", out)
    assert result.exit_code == 2
    assert "triptych/tiny-llava-1.5" in result.stderr
    assert out.read_text() == before


def test_sidecars_lie_beside_the_images_and_are_not_written_twice(cli, picture, tmp_path):
    path = picture("in/a.png")
    assert cli("caption", tmp_path / "in", "--format", "sidecar", "--prompt", "one").exit_code == 0
    assert (tmp_path / "in/a.txt").read_text() == "one turn 1 8x6\n"
    again = cli("caption", path, "--format", "sidecar", "--prompt", "two")
    assert "1 already done" in again.stderr
    assert (tmp_path / "in/a.txt").read_text() == "one turn 1 8x6\n"
    cli("caption", path, "--format", "sidecar", "--prompt", "two", "--overwrite")
    assert (tmp_path / "in/a.txt").read_text() == "two turn 1 8x6\n"
    assert sorted(file.name for file in (tmp_path / "in").iterdir()) == ["a.png", "a.txt"]


def test_no_sidecar_for_a_broken_image_and_none_shared_by_two(cli, picture, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/broken.png").write_text("no")
    picture("in/a.jpg")
    picture("in/a.png")
    result = cli("caption", tmp_path / "in", "https://example.com/x.png", "--format", "sidecar")
    assert result.exit_code == 1
    assert sorted(file.name for file in (tmp_path / "in").glob("*.txt")) == ["a.txt"]
    assert "share its sidecar" in result.stderr
    assert "a URL has no place for a sidecar" in result.stderr


def test_a_full_disk_is_one_line_and_leaves_whole_lines(cli, picture, tmp_path, monkeypatch):
    from triptych.cli import output

    out, real = tmp_path / "out.jsonl", os.write

    def full(fd: int, data: bytes) -> int:
        if out.stat().st_size > 400:  # behind the first line, however long the folder's name is
            raise OSError(28, "No space left on device")
        return real(fd, data[:60])

    monkeypatch.setattr(output.os, "write", full)
    result = cli("caption", *(picture(f"{n}.png") for n in range(5)), "--format", "jsonl", "--out", out)
    assert result.exit_code == 1
    assert f"error: cannot write {out}: No space left on device; free some space" in result.stderr
    assert 1 <= len(lines(out)) < 5
    assert out.read_bytes().endswith(b"\n")


SLOW = """
import sys
import triptych.llm
from fake_engine import FakeEngine
from triptych.cli import main
triptych.llm.Engine = lambda config, progress=None: FakeEngine(config, progress, delay=0.015)
main(sys.argv[1:])
"""


def test_ctrl_c_leaves_whole_lines_and_the_next_run_goes_on(picture, tmp_path):
    # Many more than are in flight at once: those may be answered in any order, and are written in theirs.
    for number in range(120):
        picture(f"in/{number:03}.png")
    out = tmp_path / "out.jsonl"
    words = ["caption", str(tmp_path / "in"), "--format", "jsonl", "--out", str(out), "--prompt", "x"]
    command = [sys.executable, "-c", SLOW, *words]
    support = str(Path(__file__).parent.parent / "support")
    environment = {**os.environ, "PYTHONPATH": support}
    # Whoever runs the tests in the background has Ctrl-C ignored, and so would have this process.
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment, preexec_fn=heard)
    deadline = time.monotonic() + 60
    while (not out.exists() or out.read_bytes().count(b"\n") < 3) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    errors = process.communicate(timeout=30)[1]
    assert process.returncode == 130, errors
    assert "interrupted: captioned" in errors
    assert "Traceback" not in errors
    done = lines(out)
    assert 3 <= len(done) < 120
    finished = subprocess.run(command, stderr=subprocess.PIPE, text=True, env=environment, timeout=60)
    assert finished.returncode == 0
    assert f"{len(done)} already done" in finished.stderr
    assert [Path(record["path"]).name for record in lines(out)] == [f"{number:03}.png" for number in range(120)]

"""One form for all lines, and nothing of a caller's in any of them."""

from __future__ import annotations

import asyncio
import base64
import gc
import io
import json
import logging
import random

import pytest
import structlog

from triptych.engine.errors import CheckpointError
from triptych.engine.request import Usage
from triptych.replica import process
from triptych.server.logs import bound_contextvars, configure, log_request
from triptych.server.model_settings import ModelSettings, Upstream
from triptych.server.redaction import Redaction
from triptych.server.settings import Settings

PROMPT = "how do I tell my boss that I am leaving"
KEY = "tk_1234567890abcdef"
UPSTREAM_KEY = "short"
BYTES = random.Random(1).randbytes(3000)
DATA_URI = f"data:image/png;base64,{base64.b64encode(BYTES).decode()}"
LINES = base64.encodebytes(BYTES).decode()
URL = "https://user:pw@photos.example:8443/private/me.jpg?signature=abcdef"


class Log(io.StringIO):
    def text(self) -> str:
        return self.getvalue()

    def lines(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.getvalue().splitlines()]

    def last(self) -> dict[str, object]:
        return self.lines()[-1]


@pytest.fixture
def logging_to():
    """Configures the log for settings and returns what is written; everything is as before afterwards."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level

    def start(**settings) -> Log:
        stream = Log()
        upstream = ModelSettings("far", "", upstream=Upstream("http://x", "far", UPSTREAM_KEY))
        configure(Settings(**{"log_format": "json", "keys": (KEY,), "models": (upstream,), **settings}), stream)
        return stream

    yield start
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.getLogger("triptych").setLevel(logging.NOTSET)
    structlog.reset_defaults()


def request_line(**more) -> None:
    known = {"request_id": "req_1", "dialect": "openai", "method": "POST", "route": "/v1/chat/completions"}
    log_request(**{**known, "status": 200, "seconds": 0.123456, **more})


# ---- form -----------------------------------------------------------------------------------------------------------


def test_a_request_is_one_line(logging_to):
    log = logging_to()
    request_line(model="llava", usage=Usage(12, 4, 8, 3), finish_reason="stop")
    [line] = log.lines()
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "level": "info", "logger": "triptych.request", "event": "request", "request_id": "req_1", "dialect": "openai",
        "method": "POST", "route": "/v1/chat/completions", "model": "llava", "status": 200, "finish_reason": "stop",
        "prompt_tokens": 12, "image_tokens": 8, "cached_tokens": 4, "completion_tokens": 3, "seconds": 0.1235,
    }  # fmt: skip


def test_failures_of_ours_are_warnings_and_quiet_requests_are_for_debug(logging_to):
    log = logging_to()
    request_line(status=503, error="overloaded")
    request_line(status=404, error="model_not_found")
    request_line(level="debug")
    assert [(line["level"], line["error"]) for line in log.lines()] == [
        ("warning", "overloaded"), ("info", "model_not_found"),
    ]  # fmt: skip
    log = logging_to(log_level="debug")
    request_line(level="debug")
    assert log.last()["level"] == "debug"


def test_all_that_is_logged_has_one_form_and_the_request_it_belongs_to(logging_to):
    log = logging_to()
    with bound_contextvars(request_id="req_7"):
        structlog.get_logger("triptych.server").info("ours", phase="load", seconds=0.5)
        logging.getLogger("uvicorn.error").warning("theirs, %s", "formatted")
    logging.getLogger("triptych.replica").info("%s: %s", "llava", "INFO triptych.replica: loaded")
    ours, theirs, replicas = log.lines()
    assert (ours["request_id"], ours["phase"], ours["seconds"]) == ("req_7", "load", 0.5)
    assert (theirs["request_id"], theirs["event"], theirs["level"]) == ("req_7", "theirs, formatted", "warning")
    assert (replicas["logger"], replicas["event"]) == ("triptych.replica", "llava: INFO triptych.replica: loaded")
    assert "request_id" not in replicas
    assert list(ours)[:4] == list(theirs)[:4] == list(replicas)[:4] == ["timestamp", "level", "logger", "event"]


def test_text_is_for_people(logging_to):
    log = logging_to(log_format="text")
    request_line(model="llava", prompt=PROMPT)
    logging.getLogger("triptych.replica").info("two\nlines \x1b[31mred")
    first, second = log.text().splitlines()
    assert "request_id=req_1" in first
    assert "status=200" in first
    assert PROMPT not in first
    assert r"two\nlines \x1b[31mred" in second
    assert "\x1b" not in log.text()


def test_automatic_is_json_where_nobody_reads_along(logging_to):
    log = logging_to(log_format="auto")
    request_line()
    assert log.last()["event"] == "request"
    log.isatty = lambda: True
    configure(Settings(), log)
    request_line()
    assert not log.text().splitlines()[-1].startswith("{")


def test_configuring_again_replaces_the_handler_and_levels_hold(logging_to):
    first = logging_to()
    second = logging_to(log_level="error")
    logging.getLogger("triptych.server").warning("not this")
    logging.getLogger("triptych.server").error("this")
    assert first.text() == ""
    assert [line["event"] for line in second.lines()] == ["this"]
    third = logging_to(log_level="debug")
    logging.getLogger("triptych.server").debug("ours")
    logging.getLogger("asyncio").debug("theirs")
    logging.getLogger("uvicorn.access").info("a line per request that we have already")
    assert [line["event"] for line in third.lines()] == ["ours"]


async def test_lines_of_a_replicas_process_come_through(logging_to):
    log = logging_to()
    script = "import sys; print('ERROR triptych.replica: it broke', file=sys.stderr); sys.exit(3)"
    child = process.ReplicaProcess("some/model", {}, command=(process.sys.executable, "-c", script))
    with pytest.raises(process.ReplicaLostError):
        await child.start()
    await child.stop()
    assert log.last()["event"] == "some/model: ERROR triptych.replica: it broke"


# ---- what may not be in it ------------------------------------------------------------------------------------------

EVENTS = {
    "a data URI": f"got {DATA_URI} from somewhere",
    "a URL": f"got {URL}",
    "keys": f"got {KEY} and ({UPSTREAM_KEY})",
    "bytes": f"got {BYTES[:400]!r}",
    "base64": f"got {DATA_URI[22:]}",
    "base64 in lines": f"got {LINES}",
    "a data URI in lines": f"got {DATA_URI[:22]}{LINES!r}",
    "headers": "got {'authorization': 'Bearer abc.def', 'x-api-key': 'my-own-secret'}",
    "keys of others": "got sk-abcdefghijklmnop and r8_abcdefghijklmnop and tp_abcdefghijklmnop",
}
FIELDS = {
    "unknown fields": {"prompt": PROMPT, "image": BYTES, "url": DATA_URI, "api_key": KEY},
    "known fields": {"error": f"{DATA_URI} {KEY}", "model": UPSTREAM_KEY},
    "nested fields": {"messages": [{"role": "user", "content": PROMPT}], "headers": {"k": KEY}},
    "objects": {"settings": Settings(keys=(KEY,)), "exchange": {"prompt": PROMPT}},
}
CONTENT = [PROMPT, "private/me.jpg", "signature"]
IMAGES = [DATA_URI[22:60], DATA_URI[-40:], LINES[160:200], LINES[-40:-5], repr(BYTES[:400])[20:60]]
NEVER = [*IMAGES, KEY, UPSTREAM_KEY, "user:pw", "abc.def", "my-own-secret", "abcdefghijklmnop"]


@pytest.mark.parametrize("name", EVENTS)
@pytest.mark.parametrize("form", ["json", "text"])
@pytest.mark.parametrize("logger", [structlog.get_logger, logging.getLogger])
def test_nothing_of_a_caller_reaches_an_event(logging_to, name, form, logger):
    log = logging_to(log_format=form)
    logger("triptych.spill").info(EVENTS[name])
    assert "got " in log.text()
    assert [word for word in [*CONTENT, *NEVER] if word in log.text()] == []


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("form", ["json", "text"])
def test_nothing_of_a_caller_reaches_a_field(logging_to, name, form):
    log = logging_to(log_format=form)
    structlog.get_logger("triptych.spill").info("x", **FIELDS[name])
    assert "hidden)" in log.text()
    assert [word for word in [*CONTENT, *NEVER] if word in log.text()] == []


def test_content_may_be_logged_but_never_keys_and_images(logging_to):
    log = logging_to(log_content=True)
    for event in EVENTS.values():
        structlog.get_logger("triptych.spill").info(event)
    for name, fields in FIELDS.items():
        structlog.get_logger("triptych.spill").info("x", **fields)
        assert (PROMPT in json.dumps(log.last())) == (name != "known fields")
    assert [word for word in NEVER if word in log.text()] == []
    assert "private/me.jpg" in log.text()


def test_extra_of_the_standard_library_stays_out(logging_to):
    log = logging_to(log_content=True)
    logging.getLogger("other").warning("x", extra={"prompt": PROMPT})
    assert set(log.last()) == {"timestamp", "level", "logger", "event"}


def test_tracebacks_have_no_message_that_could_hold_content(logging_to):
    log = logging_to()

    def fail() -> None:
        try:
            raise KeyError(PROMPT)
        except KeyError as error:
            raise ExceptionGroup(PROMPT, [ValueError(PROMPT), OSError(36, "File name too long", PROMPT)]) from error

    for logger in (structlog.get_logger("triptych.server"), logging.getLogger("uvicorn.error")):
        try:
            fail()
        except ExceptionGroup:
            logger.exception("unexpected")
        line = log.last()
        assert line["event"] == "unexpected"
        assert PROMPT not in log.text()
        hidden = ["KeyError: (hidden)", "ExceptionGroup: (hidden)", "  | ValueError: (hidden)"]
        for part in [*hidden, "in fail", "which led to:", "OSError: [Errno 36] File name too long"]:
            assert part in line["exception"]


def test_messages_that_are_ours_are_shown(logging_to):
    log = logging_to()
    structlog.get_logger("x").error("failed", exc_info=CheckpointError(f"no weights; not {KEY}"))
    assert log.last()["exception"].endswith("\nCheckpointError: no weights; not (key hidden)")
    log = logging_to(log_content=True)
    structlog.get_logger("x").error("failed", exc_info=ValueError(PROMPT))
    assert log.last()["exception"].endswith(f"\nValueError: {PROMPT}")
    structlog.get_logger("x").error("no exception", exc_info=True)
    assert "exception" not in log.last()


async def test_a_task_that_nobody_waited_for_does_not_tell(logging_to):
    log = logging_to()

    async def fail() -> None:
        raise ValueError(PROMPT)

    task = asyncio.create_task(fail())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    del task
    gc.collect()
    assert "never retrieved" in log.text()
    assert PROMPT not in log.text()


def text(line: str, content: bool = False, secrets: tuple[str, ...] = ()) -> str:
    return Redaction(secrets, content).text(line)


@pytest.mark.parametrize(
    ("line", "left"),
    [
        ("m: ValueError: a prompt", "m: ValueError: (hidden)"),
        ("m: torch.OutOfMemoryError: Tried to allocate 2 GiB", None),
        ("m: triptych.engine.errors.CheckpointError: no weights", None),
        ("m: OSError: [Errno 28] No space left on device: '/x'", "m: OSError: [Errno 28] No space left on device"),
        ("m: Traceback (most recent call last):", None),
        ("m: ERROR triptych.replica: the model could not be loaded: no weights", None),
        ("Uvicorn running on http://127.0.0.1:8000 (Press CTRL+C to quit)", None),
        ("fetched https://a.example/x.png in 3 s", "fetched https://a.example/(hidden) in 3 s"),
        ("at ws://u:p@a.example:1/x", "at ws://a.example:1/(hidden)"),
        ("llava-hf/llava-v1.6-mistral-7b-hf", None),
        ("runware:150@2", None),
    ],
)
def test_lines_that_look_like_something(line, left):
    assert text(line) == (left or line)
    assert text(line, content=True).startswith(line[:8])


def test_known_keys_are_found_as_words_only():
    assert text("the test of testing, test.", secrets=("test",)) == "the (key hidden) of testing, (key hidden)."
    assert text("a.b*c and axbxc", secrets=("a.b*c",)) == "(key hidden) and axbxc"


def test_long_texts_are_cut():
    words = "word " * 1000
    assert text(words).endswith("... (5000 characters)")
    assert len(text(words)) < 2100
    assert text("x" * 100_000) == "(hidden)"
    assert KEY[:6] not in Redaction((KEY,)).text("-- " * 1300 + "y" * 96 + KEY, 200)

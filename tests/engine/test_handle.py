"""The caller's end of a request: events in order, results, errors, aborts, and callbacks that fail."""

import logging
from typing import Any

import pytest

from triptych.engine.errors import EngineStoppedError
from triptych.engine.handle import RequestHandle
from triptych.engine.request import Delta, Finished, Prompt, Request, SamplingParams, TokenLogprob, Usage

USAGE = Usage(3, 0, 0, 4)


class Calls:
    """What a handle asks of the engine."""

    def __init__(self) -> None:
        self.aborted: list[str] = []
        self.ended: list[str] = []

    def handle(self, on_event: Any = None, **params: Any) -> RequestHandle:
        request = Request("r", Prompt((1, 2, 3)), SamplingParams(**params))
        return RequestHandle(request, self.aborted.append, self.ended.append, on_event)


@pytest.fixture
def calls() -> Calls:
    return Calls()


def test_events_come_in_order_and_end_with_finished(calls: Calls) -> None:
    handle, events = calls.handle(), [Delta("r", 0, (5,), "a"), Delta("r", 0, (6,), "b"), Finished("r", USAGE)]
    for event in events:
        handle.deliver(event)
    assert list(handle) == events
    assert calls.ended == ["r"]


def test_a_result_has_every_choice_put_together(calls: Calls) -> None:
    handle = calls.handle(n=2)
    score = TokenLogprob(5, -0.5, 1)
    handle.deliver(Delta("r", 0, (5,), "he", (score,)))
    handle.deliver(Delta("r", 1, (7,), "x", finish_reason="length"))
    handle.deliver(Delta("r", 0, (6,), "llo", (score,), "stop", "!"))
    handle.deliver(Finished("r", USAGE, prompt_logprobs=(None, score)))
    result = handle.result()
    first, second = result.choices
    assert (first.text, first.token_ids, first.logprobs) == ("hello", [5, 6], [score, score])
    assert (first.finish_reason, first.stop_reason) == ("stop", "!")
    assert (second.text, second.finish_reason, second.stop_reason) == ("x", "length", None)
    assert (result.usage, result.prompt_logprobs) == (USAGE, (None, score))


def test_a_failed_request_raises_its_own_error(calls: Calls) -> None:
    handle, error = calls.handle(), EngineStoppedError("closed")
    handle.deliver(Delta("r", 0, (5,), "a"))
    handle.deliver(Finished("r", USAGE, error=error))
    with pytest.raises(EngineStoppedError) as raised:
        handle.result()
    assert raised.value is error


def test_abort_names_the_request(calls: Calls) -> None:
    calls.handle().abort()
    assert calls.aborted == ["r"]


def test_a_callback_takes_the_events(calls: Calls) -> None:
    seen: list[Any] = []
    handle = calls.handle(seen.append)
    handle.deliver(Delta("r", 0, (5,), "a"))
    handle.deliver(Finished("r", USAGE))
    assert [type(event) for event in seen] == [Delta, Finished]


def test_a_callback_that_fails_aborts_its_request_and_harms_nobody(
    calls: Calls, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(event: object) -> None:
        raise RuntimeError("no")

    handle = calls.handle(fail)
    with caplog.at_level(logging.ERROR, "triptych.engine"):
        handle.deliver(Delta("r", 0, (5,), "a"))
    assert calls.aborted == ["r"]
    assert "callback of request r failed" in caplog.text
    handle.deliver(Finished("r", USAGE))
    assert calls.ended == ["r"]


def test_waiting_for_events_that_go_to_a_callback_is_refused():
    handle = RequestHandle(Request("r", Prompt((1,))), abort=print, on_end=print, on_event=print)
    with pytest.raises(ValueError, match="go to its on_event"):
        handle.result()

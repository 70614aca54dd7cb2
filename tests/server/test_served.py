"""A served model starts when it is asked for, survives the death of its replica, and ends when nobody needs it."""

import asyncio
import os
import signal
from itertools import count
from pathlib import Path

import pytest
from servers import start_null

from triptych.engine.errors import CheckpointError
from triptych.engine.request import SamplingParams
from triptych.replica.process import ReplicaProcess
from triptych.server.generation import ChatPrompt, Generation, ModelUnavailableError
from triptych.server.router import Router
from triptych.server.served import ModelSpec, ServedModel, Waits

WAITS = Waits(first=0.05)


class Starts:
    """Starts null replicas: the first one with the first options, and so on; the last options stay."""

    def __init__(self, *options: dict) -> None:
        self.options = list(options) or [{}]
        self.processes: list[ReplicaProcess] = []

    def __call__(self, spec: ModelSpec, on_phase) -> ReplicaProcess:
        number = min(len(self.processes), len(self.options) - 1)
        told = ModelSpec(spec.name, spec.model, spec.aliases, self.options[number])
        self.processes.append(start_null(told, on_phase))
        return self.processes[-1]


def served(*options: dict, name: str = "one", waits: Waits = WAITS, on_phase=lambda *_: None):
    starts = Starts(*options)
    return ServedModel(ModelSpec(name, "null"), starts, on_phase, waits), starts


def asked(text: str = "a b c", **params) -> Generation:
    messages = [{"role": "user", "content": text}]
    return Generation("test", ChatPrompt(messages), SamplingParams(**{"max_tokens": None, **params}))


async def answer(model: ServedModel, text: str = "a b c") -> str:
    return "".join([piece.text async for pieces in model.begin(asked(text)) for piece in pieces])


async def until(true) -> None:
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.005)


def gone(process: ReplicaProcess) -> bool:
    return not process.alive and not process._folder.exists()


# ---- start ----------------------------------------------------------------------------------------------------------


async def test_two_requests_at_once_start_it_once_and_its_phases_are_told():
    told = []
    model, starts = served({"load_seconds": 0.1}, on_phase=lambda name, phase: told.append((name, phase.name)))
    assert (model.state, model.pid, model.in_memory) == ("stopped", None, False)
    asking = asyncio.gather(answer(model), answer(model, "d e"))
    await until(lambda: model.state == "starting")
    assert await asking == ["a b c", "d e"]
    assert len(starts.processes) == 1
    assert model.state == "ready"
    assert told == [("one", "process"), ("one", "load")]
    assert list(model.phases) == ["process", "load"]
    assert model.weight_bytes == model.info.weight_bytes
    await model.stop()
    assert (model.state, model.pid, gone(starts.processes[0])) == ("stopped", None, True)


async def test_a_caller_that_leaves_while_it_starts_takes_nobody_along():
    model, starts = served({"load_seconds": 0.2})
    leaving = asyncio.create_task(answer(model))
    staying = asyncio.create_task(answer(model))
    await until(lambda: model.state == "starting")
    leaving.cancel()
    assert await staying == "a b c"
    assert len(starts.processes) == 1
    await model.stop()


async def test_a_load_failure_is_told_to_all_and_not_hammered():
    model, starts = served({"fail": "config.json is missing"}, waits=Waits(first=10))
    results = await asyncio.gather(answer(model), answer(model), return_exceptions=True)
    assert [type(error) for error in results] == [CheckpointError, CheckpointError]
    assert (model.state, model.failure) == ("failed", "config.json is missing")
    assert gone(starts.processes[0])
    # Now it rests for 10 s, then 20: the next request waits for its turn, those after a second failure are told.
    model._not_before = 0.0
    with pytest.raises(CheckpointError):
        await answer(model)
    with pytest.raises(ModelUnavailableError, match=r"failed 2 times: config.json is missing") as error:
        await answer(model)
    assert 15 < error.value.retry_after <= 20
    assert len(starts.processes) == 2
    assert model.state == "failed"


async def test_a_replica_that_dies_while_it_loads_is_told_with_its_last_words():
    def start(spec, on_phase):
        return ReplicaProcess(spec.model, {}, on_phase, ("sh", "-c", "echo out of memory >&2; exit 7"))

    model = ServedModel(ModelSpec("one", "null"), start, waits=WAITS)
    with pytest.raises(ModelUnavailableError, match="ended with code 7: out of memory"):
        await answer(model)
    assert model.state == "failed"


async def test_a_replica_that_cannot_be_run_counts_as_a_failure():
    def start(spec, on_phase):
        return ReplicaProcess(spec.model, {}, on_phase, ("/no/such/command",))

    model = ServedModel(ModelSpec("one", "null"), start, waits=Waits(first=30))
    with pytest.raises(FileNotFoundError):
        await answer(model)
    with pytest.raises(ModelUnavailableError):
        await answer(model)


# ---- death ----------------------------------------------------------------------------------------------------------


async def test_a_request_that_got_nothing_is_given_to_a_new_replica():
    model, starts = served({"die_after": 0}, {"die_after": 0}, {})
    run = model.begin(asked())
    await run.admission()
    assert "".join([piece.text async for pieces in run for piece in pieces]) == "a b c"
    assert run.end.usage.completion_tokens == 3
    assert len(starts.processes) == 3
    assert all(gone(process) for process in starts.processes[:2])
    await model.stop()


async def test_after_the_tries_it_is_given_up():
    model, starts = served({"die_after": 0})
    with pytest.raises(ModelUnavailableError, match="died 3 times"):
        await answer(model)
    assert len(starts.processes) == 3
    await until(lambda: model.state == "failed")
    assert "killed by signal 9" in model.failure
    assert gone(starts.processes[-1])


async def test_a_death_in_the_middle_of_an_answer_is_an_error_and_the_next_request_is_answered():
    model, starts = served({"die_after": 2}, {})
    seen = []
    with pytest.raises(ModelUnavailableError, match="died while it was answering"):
        async for pieces in model.begin(asked()):
            seen += [piece.text for piece in pieces]
    assert seen == ["a", " b"]
    assert await answer(model) == "a b c"
    assert len(starts.processes) == 2
    await model.stop()


async def test_a_death_while_nobody_asks_is_noticed():
    model, starts = served()
    await model.client()
    os.kill(model.pid, signal.SIGKILL)
    await until(lambda: model.state == "failed" and gone(starts.processes[0]))
    assert (model.pid, model.in_memory) == (None, False)
    assert await answer(model) == "a b c"
    await model.stop()


async def test_a_connection_that_breaks_ends_the_replica_behind_it():
    model, starts = served()
    client = await model.client()
    client._connection.cut("for the test")
    await until(lambda: model.state == "failed")
    assert gone(starts.processes[0])
    assert "for the test" in model.failure
    assert await answer(model) == "a b c"
    await model.stop()


@pytest.mark.parametrize("load_seconds", [0, 60])
async def test_a_replica_that_hangs_is_killed_also_while_it_loads(load_seconds):
    model, starts = served({"load_seconds": load_seconds}, {}, waits=Waits(0.05, look=0.05, hung=0.2))
    asking = asyncio.create_task(answer(model)) if load_seconds else await model.client()
    await until(lambda: model.report is not None)
    os.kill(starts.processes[0]._process.pid, signal.SIGSTOP)
    if load_seconds:
        with pytest.raises(ModelUnavailableError, match="killed by signal 9"):
            await asking
    await until(lambda: model.state == "failed")
    assert await answer(model) == "a b c"
    await model.stop()


# ---- end ------------------------------------------------------------------------------------------------------------


async def test_a_stop_lets_running_requests_finish_and_new_ones_start_it_again():
    model, starts = served({"delay": 0.05})
    run = model.begin(asked())
    await run.admission()
    # The null replica does not drain: here the server's own grace is what counts.
    os.kill(model.pid, signal.SIGSTOP)
    stopping = asyncio.create_task(model.stop(grace=0.1))
    await until(lambda: model.state == "stopped")
    assert model.under_way == 1
    late = asyncio.create_task(answer(model, "late"))
    await stopping
    assert await late == "late"
    assert gone(starts.processes[0])
    assert len(starts.processes) == 2
    assert model.in_memory
    await model.stop()


async def test_a_stop_while_it_starts_is_told_to_those_who_wait():
    model, starts = served({"load_seconds": 60})
    asking = asyncio.create_task(answer(model))
    await until(lambda: model.phases)
    await model.stop()
    with pytest.raises(ModelUnavailableError, match="stopped while it started"):
        await asking
    assert model.state == "stopped"
    assert gone(starts.processes[0])


async def test_an_idle_model_is_unloaded_but_not_one_that_is_used():
    idle, _ = served(name="idle")
    busy, starts = served({"delay": 0.05}, name="busy")
    router = Router([idle, busy], idle_unload=0.3, sweep_every=0.02)
    await router.start(preload=[idle])
    asking = asyncio.create_task(answer(busy, "word " * 20))
    await until(lambda: idle.state == "stopped")
    assert busy.state == "ready"
    await asking
    assert len(starts.processes) == 1
    await until(lambda: busy.state == "stopped")
    await router.stop(1)


async def test_a_model_that_loads_longer_than_it_may_idle_is_used_first():
    model, starts = served({"load_seconds": 0.4})
    router = Router([model], idle_unload=0.2, sweep_every=0.01)
    await router.start()
    assert await answer(model) == "a b c"
    assert len(starts.processes) == 1
    await router.stop(1)


# ---- memory ---------------------------------------------------------------------------------------------------------


def three(**options):
    pairs = [served(options, name=name) for name in ("first", "second", "third")]
    return [model for model, _ in pairs]


async def test_the_longest_unused_model_makes_room():
    models = three()
    first, second, third = models
    router = Router(models, memory_limit=2000)
    await router.start(preload=[first, second])
    await answer(first)
    await third.client()
    assert [model.state for model in models] == ["ready", "stopped", "ready"]
    await router.stop(1)


async def test_room_is_waited_for_while_all_are_used():
    models = three(delay=0.1)
    router = Router(models, memory_limit=1000)
    first, second, _ = models
    order, numbers = [], count()

    async def run(model):
        await answer(model, "a b")
        order.append((next(numbers), model.name))

    running = asyncio.create_task(run(first))
    await until(lambda: first.under_way)
    await run(second)
    await running
    assert order == [(0, "first"), (1, "second")]
    assert [model.in_memory for model in models] == [False, True, False]
    await router.stop(1)


async def test_two_that_start_at_once_do_not_exceed_the_limit():
    models = three()
    for model in models:
        await model.client()  # now their sizes are known
        await model.stop()
    router = Router(models, memory_limit=2000)
    most = 0

    async def look():
        nonlocal most
        while True:
            most = max(most, sum(model.in_memory for model in models))
            await asyncio.sleep(0.001)

    looking = asyncio.create_task(look())
    assert await asyncio.gather(*(answer(model) for model in models)) == ["a b c"] * 3
    looking.cancel()
    assert most == 2
    await router.stop(1)


async def test_a_model_that_finds_no_room_in_time_says_so():
    models = three(delay=0.2)
    router = Router(models, memory_limit=1000, room_within=0.1)
    first, second, _ = models
    await first.client()
    running = asyncio.create_task(answer(first))
    await until(lambda: first.under_way)
    with pytest.raises(ModelUnavailableError, match="no room for second"):
        await answer(second)
    assert second.state == "failed"
    assert await running == "a b c"
    assert await answer(second) == "a b c"
    await router.stop(1)


async def test_weights_on_disk_count_before_the_first_start(tmp_path: Path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"x" * 700)
    assert ServedModel(ModelSpec("one", str(tmp_path))).weight_bytes == 700
    assert ServedModel(ModelSpec("one", "nobody/nothing")).weight_bytes == 0

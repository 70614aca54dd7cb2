"""A served model starts when it is asked for, survives the death of its replica, and ends when it is told to."""

import asyncio
import os
import signal
from pathlib import Path

import pytest
from served_models import WAITS, answer, asked, begun, gone, served, until

from triptych.engine.errors import CheckpointError
from triptych.replica.process import ReplicaProcess
from triptych.server.generation import ModelUnavailableError
from triptych.server.served import ModelSpec, ServedModel, Waits

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


async def test_a_process_that_never_opens_its_socket_is_given_up():
    def start(spec, on_phase):
        return ReplicaProcess(spec.model, {}, on_phase, ("sh", "-c", "exec sleep 60"))

    model = ServedModel(ModelSpec("one", "null"), start, waits=Waits(connect=0.1))
    with pytest.raises(ModelUnavailableError, match="did not open its socket"):
        await answer(model)
    assert (model.state, model.in_memory) == ("failed", False)


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

    async def ask():
        async for pieces in model.begin(asked()):
            seen.extend(piece.text for piece in pieces)

    with pytest.raises(ModelUnavailableError, match="died while it was answering"):
        await ask()
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
    model, starts = served({"load_seconds": load_seconds}, {}, waits=Waits(first=0.05, look=0.05, hung=0.2))
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
    asking = asyncio.create_task(answer(model))
    await until(lambda: model.under_way)
    stopping = asyncio.create_task(model.stop(grace=10))
    await until(lambda: model.state == "stopped")
    assert model.under_way == 1
    assert await answer(model, "late") == "late"
    assert asking.done()
    assert await asking == "a b c"
    await stopping
    assert gone(starts.processes[0])
    assert len(starts.processes) == 2
    assert (model.state, model.in_memory) == ("ready", True)
    await model.stop()


async def test_what_does_not_finish_in_time_is_cut_off():
    model, starts = served({"delay": 0.05})
    asking = await begun(model)
    await model.stop(grace=0.1)
    with pytest.raises(ModelUnavailableError, match="died while it was answering"):
        await asking
    assert (model.state, model.failure) == ("stopped", "")
    assert gone(starts.processes[0])


async def test_a_stop_that_is_broken_off_leaves_nothing_that_is_in_the_way():
    model, starts = served({"delay": 0.05})
    asking = await begun(model)
    stopping = asyncio.create_task(model.stop(grace=10))
    await asyncio.sleep(0.05)
    stopping.cancel()
    assert await answer(model) == "a b c"
    assert gone(starts.processes[0])
    with pytest.raises(ModelUnavailableError):
        await asking
    await model.stop()


async def test_a_request_at_the_moment_of_a_loss_is_given_to_a_new_replica():
    model, starts = served()
    client = await model.client()
    client._connection.cut("for the test")  # its end is told in the next turn of the loop
    assert await answer(model) == "a b c"
    assert len(starts.processes) == 2
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


async def test_weights_on_disk_count_before_the_first_start(tmp_path: Path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"x" * 700)
    assert ServedModel(ModelSpec("one", str(tmp_path))).weight_bytes == 700
    assert ServedModel(ModelSpec("one", "nobody/nothing")).weight_bytes == 0

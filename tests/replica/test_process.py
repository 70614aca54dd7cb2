"""Replicas as processes: cold starts that tell their phases, deaths that are told apart, no orphans."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from triptych.engine.errors import CheckpointError
from triptych.engine.request import SamplingParams
from triptych.replica import protocol
from triptych.replica.client import ReplicaLostError
from triptych.replica.process import ReplicaProcess

MODEL = "triptych/tiny-mixtral"
OPTIONS = {"threads": 1, "precision": "fp32"}


async def test_a_sum_is_right_through_a_process_and_its_phases_are_told():
    phases = []
    replica = ReplicaProcess(MODEL, OPTIONS, phases.append)
    client = await replica.start()
    info = await client.ready()
    call = client.submit(
        protocol.ChatPrompt([{"role": "user", "content": "What is 17 + 25?"}]), SamplingParams(max_tokens=8)
    )
    assert "".join([piece.text async for pieces in call for piece in pieces]) == "42"
    names = list(dict.fromkeys(phase.name for phase in phases))
    assert names == ["process", "load", "first_token"]
    assert all(phase.seconds >= 0 for phase in phases)
    assert info.model == MODEL
    assert client.pid != os.getpid()
    await replica.stop()
    assert not replica.alive
    assert not Path(client.address.removeprefix("unix:")).exists()


async def test_a_model_that_cannot_be_loaded_says_why(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    replica = ReplicaProcess(str(tmp_path), {})
    client = await replica.start()
    with pytest.raises(CheckpointError, match="bert"):
        await client.ready()
    assert "ended with code 1" in await replica.obituary()
    await replica.stop()


async def test_a_killed_replica_is_noticed_with_what_was_delivered():
    replica = ReplicaProcess(MODEL, OPTIONS)
    client = await replica.start()
    await client.ready()
    call = client.submit(protocol.RawPrompt("1 + 1"), SamplingParams(max_tokens=None, ignore_eos=True))
    pieces = aiter(call)
    while not any(piece.text for piece in await anext(pieces)):
        pass
    os.kill(client.pid, signal.SIGKILL)
    with pytest.raises(ReplicaLostError) as lost:
        await call.ended()
    assert lost.value.delivered
    assert "signal 9" in await replica.obituary()
    with pytest.raises(ReplicaLostError):
        client.submit(protocol.RawPrompt("1 + 1"), SamplingParams())
    await replica.stop()


async def test_a_hung_replica_does_not_answer_in_time():
    replica = ReplicaProcess(MODEL, OPTIONS)
    client = await replica.start()
    await client.ready()
    os.kill(client.pid, signal.SIGSTOP)
    with pytest.raises(TimeoutError):
        await client.report(timeout=0.2)
    os.kill(client.pid, signal.SIGCONT)
    assert (await client.report(timeout=10)).unfinished == 0
    await replica.stop()


async def test_a_command_that_is_no_replica_is_an_error_at_once():
    replica = ReplicaProcess(MODEL, {}, command=(sys.executable, "-c", "raise SystemExit('no such thing')"))
    with pytest.raises(ReplicaLostError, match="code 1: no such thing"):
        await replica.start()
    await replica.stop()


def test_a_replica_ends_with_its_server_however_that_ends():
    parent = subprocess.Popen(
        [sys.executable, "-c", _SERVER], stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{child}").exists() and "Z" not in Path(f"/proc/{child}/stat").read_text().split()[2]:
        assert time.monotonic() < deadline, "the replica outlived its server"
        time.sleep(0.05)


_SERVER = f"""
import asyncio
from triptych.replica.process import ReplicaProcess

async def main():
    client = await ReplicaProcess("{MODEL}", {{}}).start()
    await client.ready()
    print(client.pid, flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""

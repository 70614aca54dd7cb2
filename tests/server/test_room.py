"""Models that nobody uses make room: after a while, and for others."""

import asyncio

import pytest
from served_models import answer, served, until

from triptych.server.generation import ModelUnavailableError
from triptych.server.router import Router

# ---- idle -----------------------------------------------------------------------------------------------------------


async def test_an_idle_model_is_unloaded_but_not_one_that_is_used():
    idle, _ = served(name="idle")
    busy, starts = served({"delay": 0.05}, name="busy")
    router = Router([idle, busy], idle_unload=0.3, sweep_every=0.02)
    await router.start(preload=[idle])
    asking = asyncio.create_task(answer(busy, "word " * 20))
    await until(lambda: busy.state == "ready")  # its process may take longer to start than the other may idle
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
    await third.client()  # now its size is known
    await third.stop()
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
    await second.client()
    await second.stop()
    running = asyncio.create_task(answer(first))
    await until(lambda: first.under_way)
    assert await answer(second) == "a b c"
    assert running.done()
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
    await second.client()
    await second.stop()
    running = asyncio.create_task(answer(first))
    await until(lambda: first.under_way)
    with pytest.raises(ModelUnavailableError, match="no room for second"):
        await answer(second)
    assert second.state == "stopped"
    assert await running == "a b c"
    assert await answer(second) == "a b c"
    await router.stop(1)


async def test_what_turns_out_too_large_for_the_limit_is_made_good_for():
    models = three()
    router = Router(models, memory_limit=2000, sweep_every=0.02)
    await router.start(preload=models)  # nobody knew their sizes
    await until(lambda: [model.state for model in models] == ["stopped", "ready", "ready"])
    await asyncio.sleep(0.1)
    assert [model.state for model in models] == ["stopped", "ready", "ready"]
    await router.stop(1)

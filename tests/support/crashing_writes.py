"""A store whose writes hang from some write on, as those of a server do that has died."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from triptych.server.store.store import Store


@contextmanager
def dying_at(store: Store, crash_at: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Meanwhile the write number `crash_at` never comes back, nor does any after it. An odd one is not written."""
    writes, real = 0, store.write

    async def write(work: Any) -> Any:
        nonlocal writes
        writes += 1
        if writes == crash_at and crash_at % 2:
            await asyncio.Event().wait()
        done = await real(work)
        if writes >= crash_at:
            await asyncio.Event().wait()
        return done

    with monkeypatch.context() as patched:
        patched.setattr(store, "write", write)
        yield

"""A replica as a process: `python -m triptych.replica ADDRESS`, with what to run as JSON on standard input.

The first line is `{"model": ..., "options": {...}}`, options as `EngineConfig` has them. Standard input then stays
open for as long as the server lives: when it ends, however it ends, the replica ends too. SIGTERM lets running requests
finish.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .host import Host, Progress

if TYPE_CHECKING:
    from ..engine.engine import Engine


def make_engine(
    model: str, options: dict[str, Any], files: Progress, load: Progress, on_turn: Callable[[], None]
) -> Engine:
    """Fetch what is missing and load it."""
    from ..engine.engine import Engine
    from ..models import engine_config

    return Engine(engine_config(model, files, **options), load, on_turn)


async def serve(address: str, model: str, options: dict[str, Any]) -> bool:
    """Run until told to stop; False when the model could not be loaded."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    host = Host(partial(make_engine, model, options), started=_process_start())
    loaded = await host.run(address, stop)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # we are about to end anyway
    return loaded


def _process_start() -> float:
    """When this process began, in seconds since the epoch, by the kernel's own book where there is one."""
    try:
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        uptime = float(Path("/proc/uptime").read_text().split()[0])
        return time.time() - uptime + ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return time.time()


def _end_with_parent() -> None:
    # Not through sys.stdin, which may not be in use when the interpreter ends.
    while os.read(0, 4096):
        pass
    os._exit(1)


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    if len(sys.argv) != 2:
        print(f"usage: python -m triptych.replica ADDRESS < settings\n\n{__doc__}", file=sys.stderr)
        return 2
    settings = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    loaded = asyncio.run(serve(sys.argv[1], settings["model"], settings.get("options", {})))
    return 0 if loaded else 1


if __name__ == "__main__":
    sys.exit(main())

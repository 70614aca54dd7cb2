"""A replica in a child process of this one, with a socket in a folder of its own."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from .client import ReplicaClient, ReplicaLostError
from .protocol import Phase

log = logging.getLogger("triptych.replica")

COMMAND = (sys.executable, "-m", "triptych.replica")
_CONNECT_EVERY = 0.01
_LAST_LINES = 20


class ReplicaProcess:
    """Starts `command ADDRESS` for a model and connects to it. It ends with this process, however that ends.

    `options` are fields of `EngineConfig`. What the replica writes is logged here under the model's name, and its last
    line is in the error when it dies.
    """

    def __init__(
        self,
        model: str,
        options: dict[str, Any],
        on_phase: Callable[[Phase], None] | None = None,
        command: Sequence[str] = COMMAND,
    ) -> None:
        self.model = model
        self._options = options
        self._on_phase = on_phase
        self._command = command
        self._folder = Path(tempfile.mkdtemp(prefix="triptych-"))
        self._process: asyncio.subprocess.Process | None = None
        self._lines: list[str] = []
        self._reader: asyncio.Task[None] | None = None

    async def start(self) -> ReplicaClient:
        """Start it and return a client that is connected, while the model still loads. Raises ReplicaLostError."""
        address = f"unix:{self._folder / 'replica'}"
        self._process = await asyncio.create_subprocess_exec(
            *self._command, address, stdin=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            start_new_session=True,  # a signal to the server's group is the server's to handle
        )  # fmt: skip
        self._reader = asyncio.create_task(self._read_log(self._process))
        assert self._process.stdin is not None
        settings = {"model": self.model, "options": self._options}
        self._process.stdin.write(json.dumps(settings, default=str).encode() + b"\n")
        client = ReplicaClient(address, self._on_phase)
        while True:
            try:
                await client.connect()
                return client
            except OSError:
                if self._process.returncode is not None:
                    raise ReplicaLostError(await self.obituary()) from None
                await asyncio.sleep(_CONNECT_EVERY)

    async def obituary(self) -> str:
        """How it ended, with the last line it wrote."""
        assert self._process is not None
        code = await self._process.wait()
        if self._reader is not None:
            await self._reader
        how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        last = f": {self._lines[-1]}" if self._lines else ""
        return f"the replica of {self.model} {how}{last}"

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def stop(self, grace: float = 10.0) -> None:
        """Let running requests finish for `grace` seconds, then kill it; removes its folder."""
        process = self._process
        if process is not None and process.returncode is None:
            with suppress(ProcessLookupError):
                process.terminate()
            try:
                async with asyncio.timeout(grace):
                    await process.wait()
            except TimeoutError:
                log.warning("the replica of %s did not end in %g s and is killed", self.model, grace)
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if self._reader is not None:
            await self._reader
        shutil.rmtree(self._folder, ignore_errors=True)

    async def _read_log(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        while line := await process.stderr.readline():
            text = line.decode(errors="replace").rstrip()
            self._lines = [*self._lines[1 - _LAST_LINES :], text]
            log.info("%s: %s", self.model, text)

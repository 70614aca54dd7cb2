"""A server before null replicas as a process of its own, to be killed."""

from __future__ import annotations

import threading
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

from servers import null_models, serving


class KillableServer:
    """The process. What it keeps is in `folder`, so that the next one goes on with it. `options` are those of the
    replicas.
    """

    def __init__(self, folder: Path, **options: object) -> None:
        context = get_context("forkserver")
        context.set_forkserver_preload(["triptych.server.start"])  # imported once for all servers
        address, told = context.Pipe(duplex=False)
        self.process = context.Process(target=_serve, args=(folder, options, told), daemon=True)
        self.process.start()
        told.close()
        self.url: str = address.recv()

    def kill(self) -> None:
        """As `kill -9` does: nothing is said, nothing put away."""
        self.process.kill()
        self.process.join(10)


def _serve(folder: Path, options: dict[str, object], told: Connection) -> None:
    with serving(null_models(**options), data=folder) as running:
        told.send(running.url)
        threading.Event().wait()

"""Servers to send requests to: the real application on a port of its own, before null replicas or real ones."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
from image_host import FakeResolver

from triptych.replica.process import ReplicaProcess
from triptych.server.app import App, Options
from triptych.server.delivery.guard import Guard
from triptych.server.delivery.post import Poster
from triptych.server.metrics import Metrics
from triptych.server.pictures import Fetch
from triptych.server.records import open_records
from triptych.server.router import Router
from triptych.server.served import ModelSpec, ServedModel, Waits
from triptych.server.service import Service
from triptych.server.start import websockets
from triptych.server.stopping import Server

# A webhook's address that looks like any other, but is inside: it is found out when it is resolved, and given up.
NOWHERE = "https://inside.example/hook"
NULL = (sys.executable, str(Path(__file__).with_name("null_replica.py")))


def start_null(spec: ModelSpec, on_phase: Any) -> ReplicaProcess:
    """A null replica as a child process; the options of `spec` are its own."""
    return ReplicaProcess(spec.model, {"name": spec.name, **spec.options}, on_phase, NULL)


async def no_fetch(url: str) -> bytes:
    return url.encode()


@dataclass
class Running:
    """A server under way; `loop` is its own."""

    url: str
    app: App
    router: Router
    loop: asyncio.AbstractEventLoop
    server: uvicorn.Server

    def do(self, work: Callable[[], Any]) -> Any:
        """Run a coroutine on the server's loop and wait for it."""
        return asyncio.run_coroutine_threadsafe(work(), self.loop).result(30)


@contextmanager
def serving(
    models: list[ServedModel], fetch: Fetch = no_fetch, options: Options | None = None, most_waiting: int = 256,
    data: Path | None = None, database: str | None = None, on_stop: Callable[[], Awaitable[None]] | None = None,
    poster: Poster | None = None, **router: Any,
) -> Iterator[Running]:
    """The application on a free port of the loopback address; with `data` it keeps files and batches there. `on_stop`
    is awaited on its loop when it stops. Without a `poster` its webhooks reach nobody, and `NOWHERE` is refused.
    """
    options = options or Options(drain=5)
    poster = poster or Poster(Guard(), resolver=FakeResolver({"inside.example": ("127.0.0.1",)}))
    loop = asyncio.new_event_loop()
    routes = Router(models, **router)
    metrics = Metrics([model.name for model in models])
    records = None if data is None else _elsewhere(partial(loop.run_until_complete, open_records(data, database)))
    files = None if records is None else records.files
    service = Service(routes, fetch, metrics, most_waiting=most_waiting, files=files)

    async def closed() -> None:
        for close in (on_stop, None if records is None else records.close):
            if close is not None:
                await close()

    app = App(service, options, closed, records, poster)
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, **websockets(options.most_body))
    server = Server(config, app, options.drain)

    def run() -> None:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(server.serve())

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield Running(f"http://127.0.0.1:{port}", app, routes, loop, server)
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive(), "the server did not stop"


def _elsewhere(work: Callable[[], Any]) -> Any:
    """The result of `work` in a thread of its own: in this one a loop may be running, such as a browser's."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


def null_models(**options: Any) -> list[ServedModel]:
    """Two models of null replicas: one that sees (`eye`, alias `llava`), one that does not (`text`)."""
    return [
        ServedModel(ModelSpec("eye", "null", ("llava", "org/eye"), options), start_null, waits=Waits(first=0.05)),
        ServedModel(ModelSpec("text", "null", (), {**options, "vision": False}), start_null, waits=Waits(first=0.05)),
    ]

"""From settings to a running server."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import uvicorn

from ..replica.protocol import Phase
from .app import App, Options
from .backend import Backend
from .delivery.fetch import FetchError, FetchLimits, ImageFetcher
from .delivery.guard import Guard
from .delivery.post import Poster
from .logs import configure
from .metrics import Metrics
from .model_settings import ModelSettings
from .names import ALIASES, NOTE
from .records import Records, open_records
from .router import Router
from .served import ModelSpec, ServedModel
from .service import Service
from .settings import Settings, SettingsError
from .stopping import Server
from .store.ids import now_us
from .store.keys import admins
from .upstream.model import UpstreamModel

log = logging.getLogger("triptych.server")

# Clients keep connections for 15 s and more; a server that closes earlier breaks their next request.
_KEEP_ALIVE = 75
_MOST_UNREAD_MS = 90_000


@dataclass(frozen=True, slots=True)
class Built:
    """The application, and what it was built from."""

    app: App
    router: Router
    metrics: Metrics


def build(settings: Settings, records: Records | None = None) -> Built:
    """Everything that the settings ask for, nothing of it started."""
    metrics = Metrics([model.name for model in settings.models])
    models = backends(settings.models, metrics.phase)
    preload = tuple(
        served
        for served, model in zip(models, settings.models, strict=True)
        if (settings.preload or model.preload) and model.upstream is None  # nothing of it is loaded here
    )
    router = Router(models, settings.idle_unload, settings.memory_limit)
    guard = Guard.allowing([*settings.allow_networks, *settings.allow_hosts])
    fetcher = ImageFetcher(guard, FetchLimits(max_bytes=settings.fetch_bytes, seconds=settings.fetch_seconds))
    options = Options(
        keys=settings.keys,
        keys_from=settings.source("keys"),
        no_auth=settings.no_auth,
        most_body=settings.max_body,
        most_upload=settings.max_upload,
        drain=settings.drain_seconds,
        preload=preload,
        cors_origins=settings.cors_origins,
        retention=settings.retention,
        data=settings.data,
        prices=settings.prices,
        own_prices={model.name: model.price for model in settings.models if model.price is not None},
        refresh=settings.refresh_prices,
        price_lists=settings.price_lists,
    )
    files = None if records is None else records.files
    fetch = partial(_fetch, fetcher, metrics)
    service = Service(router, fetch, metrics, settings.max_images, settings.max_queue, files)
    poster = Poster(guard, http=settings.webhook_http)
    return Built(App(service, options, fetcher.close, records, poster), router, metrics)


async def _fetch(fetcher: ImageFetcher, metrics: Metrics, source: str) -> bytes:
    """An image's bytes; how long a download took is measured."""
    if source[:4].lower() != "http":
        return await fetcher.read(source)
    started, outcome = time.perf_counter(), "ok"
    try:
        return await fetcher.read(source)
    except FetchError as error:
        outcome = error.code
        raise
    finally:
        metrics.image_fetched(time.perf_counter() - started, outcome)


def backends(models: Sequence[ModelSettings], on_phase: Callable[[str, Phase], None]) -> list[Backend]:
    """What is served: models that run here, and those that upstreams answer for. An embedded model also answers to the
    names that people have in their code, unless another model of these settings does.
    """
    taken = {name for model in models for name in (model.name, *model.aliases)}
    found: list[Backend] = []
    for model in models:
        if model.upstream is not None:
            found.append(UpstreamModel(model.name, model.upstream, model.aliases))
            continue
        known = tuple(name for name in ALIASES.get(model.model, ()) if name not in taken)
        note = NOTE if model.model in ALIASES else ""
        spec = ModelSpec(model.name, model.model, (*model.aliases, *known), dict(model.options), note)
        found.append(ServedModel(spec, on_phase=on_phase))
    return found


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or Ctrl-C, then let running requests finish.

    Raises SettingsError, also for a taken port, and what keeps the data folder or the database from being used.
    """
    configure(settings)
    listener = _listen(settings.host, settings.port)
    with asyncio.Runner(loop_factory=uvicorn.Config("", log_config=None).get_loop_factory()) as runner:
        runner.run(_serve(settings, listener))


async def _serve(settings: Settings, listener: socket.socket) -> None:
    records = await open_records(settings.data, settings.database, settings.storage)
    try:
        if (error := settings.binding_error()) is not None and not await _has_admin(records):
            raise error
        built = build(settings, records)
        _announce(settings, listener.getsockname()[1], built.router)
        gc.collect()
        gc.freeze()  # what the server is made of stays: no collection has to look through it
        config = uvicorn.Config(
            built.app, log_config=None, access_log=False, timeout_keep_alive=_KEEP_ALIVE, server_header=False,
            **websockets(settings.max_body),
        )  # fmt: skip
        await Server(config, built.app, settings.drain_seconds).serve(sockets=[listener])
    finally:
        await records.close()


async def _has_admin(records: Records) -> bool:
    """Whether a key lets in who is not of this machine, and can make others."""
    return bool(await records.store.read(partial(admins, now_us=now_us())))


def websockets(most_body: int) -> dict[str, Any]:
    """How uvicorn speaks on WebSockets. A frame may be larger than a body, in bytes: it is answered with an error that
    names its task, where a socket that is closed would make clients send it again. Who answers no ping is gone.
    """
    return {
        "ws": "websockets-sansio", "ws_max_size": 2 * most_body, "ws_ping_interval": 30.0, "ws_ping_timeout": 30.0,
        # Pictures in base64 hardly shrink, and it takes memory for every connection.
        "ws_per_message_deflate": False,
    }  # fmt: skip


def _announce(settings: Settings, port: int, router: Router) -> None:
    """Say where the server is: in the log, and to a person who looks at the terminal."""
    log.info("serving %s on port %d", ", ".join(model.name for model in router.models), port)
    if sys.stderr.isatty():
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        print(f"\n  OpenAI clients: base URL http://{host}:{port}/v1", file=sys.stderr)
        print(f"  Runware clients: URL ws://{host}:{port}/v1, or http over HTTP", file=sys.stderr)
        print(f"  Replicate clients: base URL http://{host}:{port}", file=sys.stderr)
        for model in router.models:
            also = f" (also {', '.join(model.aliases[:3])}, ...)" if model.aliases else ""
            there = f" at {model.upstream}" if model.upstream else ""
            print(f"  {model.name}{also}{there}", file=sys.stderr)
        print("  Ctrl-C stops it.\n", file=sys.stderr, flush=True)


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket, bound before anything is started, so that a taken port is an error at once."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        reason = "is taken" if error.errno == 98 else f"cannot be used ({error.strerror})"
        raise SettingsError(f"port {port} of {host} {reason}; choose another with --port") from None
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        # Of every connection: whoever takes nothing for so long is cut off, also when all that is left is to close it.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _MOST_UNREAD_MS)
    listener.listen(2048)
    return listener

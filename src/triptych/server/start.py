"""From settings to a running server."""

from __future__ import annotations

import logging
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import uvicorn

from .app import App, Options
from .delivery.fetch import FetchError, FetchLimits, ImageFetcher
from .delivery.guard import Guard
from .logs import configure
from .metrics import Metrics
from .model_settings import ModelSettings
from .names import ALIASES, NOTE
from .router import Router
from .served import ModelSpec, ServedModel
from .service import Service
from .settings import Settings, SettingsError

log = logging.getLogger("triptych.server")

# Clients keep connections for 15 s and more; a server that closes earlier breaks their next request.
_KEEP_ALIVE = 75


@dataclass(frozen=True, slots=True)
class Built:
    """The application, and what it was built from."""

    app: App
    router: Router
    metrics: Metrics


def build(settings: Settings) -> Built:
    """Everything that the settings ask for, nothing of it started. Raises SettingsError."""
    metrics = Metrics([model.name for model in settings.models])
    models = [ServedModel(spec, on_phase=metrics.phase) for spec in specs(settings.models)]
    preload = tuple(
        served
        for served, model in zip(models, settings.models, strict=True)
        if settings.preload or model.preload
    )
    router = Router(models, settings.idle_unload, settings.memory_limit)
    guard = Guard.allowing([*settings.allow_networks, *settings.allow_hosts])
    fetcher = ImageFetcher(guard, FetchLimits(max_bytes=settings.fetch_bytes, seconds=settings.fetch_seconds))
    options = Options(
        keys=settings.keys,
        most_body=settings.max_body,
        drain=settings.drain_seconds,
        preload=preload,
        cors_origins=settings.cors_origins,
    )
    service = Service(router, partial(_fetch, fetcher, metrics), metrics, settings.max_images, settings.max_queue)
    return Built(App(service, options, on_stop=fetcher.close), router, metrics)


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


def specs(models: Sequence[ModelSettings]) -> list[ModelSpec]:
    """What is served. An embedded model also answers to the names that people have in their code, unless another model
    of these settings does. Raises SettingsError for what is not built.
    """
    taken = {name for model in models for name in (model.name, *model.aliases)}
    found = []
    for model in models:
        if model.upstream is not None:
            raise SettingsError(f"model {model.name}: upstream servers are not built yet; name one of this machine")
        known = tuple(name for name in ALIASES.get(model.model, ()) if name not in taken)
        note = NOTE if model.model in ALIASES else ""
        found.append(ModelSpec(model.name, model.model, (*model.aliases, *known), dict(model.options), note))
    return found


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or Ctrl-C, then let running requests finish. Raises SettingsError, also for a taken port."""
    if (error := settings.binding_error()) is not None:
        raise error
    configure(settings)
    built = build(settings)
    listener = _listen(settings.host, settings.port)
    _announce(settings, listener.getsockname()[1], built.router)
    config = uvicorn.Config(
        built.app, log_config=None, access_log=False, timeout_keep_alive=_KEEP_ALIVE, server_header=False,
        timeout_graceful_shutdown=round(settings.drain_seconds) or None, ws="none",
    )  # fmt: skip
    uvicorn.Server(config).run(sockets=[listener])


def _announce(settings: Settings, port: int, router: Router) -> None:
    """Say where the server is: in the log, and to a person who looks at the terminal."""
    log.info("serving %s on port %d", ", ".join(model.name for model in router.models), port)
    if sys.stderr.isatty():
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        print(f"\n  OpenAI clients: base URL http://{host}:{port}/v1", file=sys.stderr)
        for model in router.models:
            also = f" (also {', '.join(model.spec.aliases[:3])}, ...)" if model.spec.aliases else ""
            print(f"  {model.name}{also}", file=sys.stderr)
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
    listener.listen(2048)
    return listener

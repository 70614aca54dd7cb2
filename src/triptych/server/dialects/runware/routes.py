"""Runware's routes: one address for all tasks, over HTTP and over WebSockets, and the bytes of uploads."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from starlette.routing import BaseRoute, Route, WebSocketRoute

from ...endpoint import JSON, Doors, Endpoint
from .errors import refusal
from .http import HttpTasks
from .images import MEDIA
from .sessions import Sessions
from .shown import DIALECT
from .socket import SocketEndpoint
from .tasks import AUTHENTICATION, PING, Tasks

# Some programs post a task to a path with the name of its type.
TYPES = (
    "caption", "imageCaption", "getResponse", "getTaskDetails", "imageUpload", "mediaStorage", "modelSearch",
    "accountManagement", AUTHENTICATION, PING,
)  # fmt: skip
MOUNTS = ("/v1", "/runware/v1")
PATHS = (*MOUNTS, "/", *(f"{mount}/{name}" for mount in MOUNTS for name in TYPES))
DOWNLOAD = f"{MEDIA}/{{name}}"


def routes(doors: Doors, tasks: Tasks, sessions: Sessions, origins: Collection[str]) -> list[BaseRoute]:
    """Every route of the dialect. Keys are looked at behind the endpoint too: they may stand in the body."""
    over_http = HttpTasks(tasks, doors.accounts)
    form = replace(JSON, read=over_http.body)
    endpoint = Endpoint(doors, DIALECT, "/v1", over_http.run, refusal, form, public=True)
    download = Endpoint(doors, DIALECT, DOWNLOAD, tasks.uploads.download, refusal, public=True)
    socket = SocketEndpoint(doors, tasks, sessions, origins)
    return [
        *(Route(path, endpoint, methods=["POST"]) for path in PATHS),
        *(Route(mount + DOWNLOAD, download, methods=["GET", "HEAD"]) for mount in MOUNTS),
        *(WebSocketRoute(path, socket) for path in (*MOUNTS, "/")),
    ]

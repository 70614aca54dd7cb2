"""Runware's routes: one address for all tasks, over HTTP and over WebSockets, and the bytes of uploads."""

from __future__ import annotations

from collections.abc import Collection

from starlette.routing import BaseRoute, Route, WebSocketRoute

from ...endpoint import Doors, Endpoint
from .errors import refusal
from .http import HttpTasks
from .images import MEDIA
from .sessions import Sessions
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
    """Every route of the dialect. The keys are looked at behind the endpoint: they may stand in the body."""
    keys = tuple(key.encode() for key in doors.keys)
    endpoint = Endpoint(doors, "runware", "/v1", HttpTasks(tasks, keys).run, refusal, public=True)
    download = Endpoint(doors, "runware", DOWNLOAD, tasks.uploads.download, refusal, public=True)
    socket = SocketEndpoint(doors, tasks, sessions, origins)
    return [
        *(Route(path, endpoint, methods=["POST"]) for path in PATHS),
        *(Route(mount + DOWNLOAD, download, methods=["GET", "HEAD"]) for mount in MOUNTS),
        *(WebSocketRoute(path, socket) for path in (*MOUNTS, "/")),
    ]

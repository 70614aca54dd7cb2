"""A stand-in for a model hub on localhost: listing, small files, big files behind a redirect, ranges, accidents."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "a" * 40


@dataclass
class Hub:
    """Repositories by id, each a dict of file name to content; `requests` are (path, range, authorization).

    `cut` breaks the connection of a file's next answers after so many bytes; `damage` flips its content once.
    """

    repositories: dict[str, dict[str, bytes]]
    gated: set[str] = field(default_factory=set)
    cut: dict[str, list[int]] = field(default_factory=dict)
    damage: set[str] = field(default_factory=set)
    ignore_ranges: bool = False
    requests: list[tuple[str, str | None, str | None]] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def asked_for(self, name: str) -> list[str | None]:
        """The Range headers of all requests for the content of a file."""
        return [ranged for path, ranged, _ in self.requests if path.startswith("/cdn/") and path.endswith(name)]

    def listing(self, repo_id: str) -> dict[str, Any]:
        siblings = []
        for name, content in self.repositories[repo_id].items():
            entry: dict[str, Any] = {"rfilename": name, "size": len(content)}
            entry["blobId"] = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
            if is_big(name):
                digest = hashlib.sha256(content).hexdigest()
                entry["lfs"] = {"sha256": digest, "size": len(content), "pointerSize": 130}
            siblings.append(entry)
        return {"id": repo_id, "sha": COMMIT, "siblings": siblings}


def is_big(name: str) -> bool:
    return name.endswith((".safetensors", ".bin", ".pt", ".model"))


@contextmanager
def serve(hub: Hub) -> Iterator[Hub]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.hub.requests.append((path, self.headers["Range"], self.headers["Authorization"]))
        listing = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path)
        content = re.fullmatch(r"(/cdn)?/([^/]+/[^/]+)/resolve/[^/]+/(.+)", path)
        if listing is not None:
            self._listing(listing.group(1), listing.group(2))
        elif content is not None:
            self._file(bool(content.group(1)), content.group(2), content.group(3))
        else:
            self._refuse(404, "RepoNotFound")

    def _listing(self, repo_id: str, revision: str | None) -> None:
        if repo_id in self.hub.gated:
            self._refuse(403, "GatedRepo")
        elif repo_id not in self.hub.repositories:
            self._refuse(401, "RepoNotFound")
        elif revision not in (None, "main"):
            self._refuse(404, "RevisionNotFound")
        else:
            self._answer(200, json.dumps(self.hub.listing(repo_id)).encode(), "application/json")

    def _file(self, content_server: bool, repo_id: str, name: str) -> None:
        if is_big(name) and not content_server:
            self.send_response(302)
            # Another host name, as content servers have.
            self.send_header("Location", f"http://localhost:{self.hub.port}/cdn{self.path}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        content = self.hub.repositories[repo_id][name]
        if name in self.hub.damage:
            self.hub.damage.discard(name)
            content = bytes([content[0] ^ 1]) + content[1:]
        start = 0
        if self.headers["Range"] and not self.hub.ignore_ranges:
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        cuts = self.hub.cut.get(name, [])
        length = cuts.pop(0) if cuts else len(content)
        self._answer(206 if start else 200, content[start:], "application/octet-stream", length)

    def _refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _answer(self, status: int, body: bytes, kind: str, send: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:send])
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""

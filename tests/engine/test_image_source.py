"""Fetching pictures: a server that answers well, badly, slowly or with a detour."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from picture_files import encoded, noise

from triptych.engine.errors import ImageError
from triptych.engine.imaging.image_source import ImageLimits
from triptych.engine.imaging.images import open_image

PICTURE = encoded(noise(40, 30), "JPEG")


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/to/"))
            self.end_headers()
        elif self.path == "/missing":
            self.send_error(404)
        elif self.path == "/drip":
            self.send_response(200)
            self.end_headers()
            for byte in PICTURE:
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
                time.sleep(0.05)
        elif self.path == "/endless":
            self.send_response(200)
            self.end_headers()
            while True:
                self.wfile.write(bytes(65536))
        elif self.path == "/garbage":
            self.wfile.write(b"\x00\x01 this is not HTTP\r\n\r\n")
        else:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(PICTURE if self.path == "/picture" else b"<html></html>")

    def log_message(self, *args: object) -> None: ...

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:  # the client hung up, as it should
            self.close_connection = True


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


def test_fetched_picture_is_the_file(site: str) -> None:
    assert open_image(f"{site}/picture") == open_image(PICTURE)


def test_redirect_is_followed(site: str) -> None:
    assert open_image(f"{site}/to/{site}/picture").width == 40


@pytest.mark.parametrize("target", ["file:///etc/hostname", "ftp://127.0.0.1/x", "data:image/png,x"])
def test_redirect_leads_to_http_only(site: str, target: str) -> None:
    with pytest.raises(ImageError, match=r"302|cannot be fetched"):
        open_image(f"{site}/to/{target}")


@pytest.mark.parametrize(
    ("path", "message", "limits"),
    [
        ("/missing", "answered 404", ImageLimits()),
        ("/page", "not an image", ImageLimits()),
        ("/endless", "more than the limit of 1,000,000 bytes", ImageLimits(max_bytes=1_000_000)),
        ("/drip", r"not delivered within 0\.3 s", ImageLimits(url_seconds=0.3)),
        ("/garbage", "cannot be fetched|not an image", ImageLimits(url_seconds=2)),
    ],
)
def test_bad_answers(site: str, path: str, message: str, limits: ImageLimits) -> None:
    began = time.monotonic()
    with pytest.raises(ImageError, match=message) as caught:
        open_image(site + path, limits=limits)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(site + path)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/x", "http://", "http://[bad/x", "https://127.0.0.1:9/"])
def test_unreachable_addresses(url: str) -> None:
    with pytest.raises(ImageError, match=r"cannot be fetched|not delivered"):
        open_image(url, limits=ImageLimits(url_seconds=2))

"""The server's address as a caller wrote it: what the links in answers begin with."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

# What a Host header may be to stand in an answer; anything else is not repeated.
_HOST = re.compile(r"[A-Za-z0-9._-]+(:\d{1,5})?|\[[0-9A-Fa-f:.]+\](:\d{1,5})?")


def origin(scope: Mapping[str, Any], headers: Mapping[str, str]) -> str:
    """Scheme, host and port without a final slash; what a proxy says of them goes before what reached us. The names in
    `headers` are in lower case.
    """
    hosts = (headers.get(name, "").partition(",")[0].strip() for name in ("x-forwarded-host", "host"))
    host = next((host for host in hosts if _HOST.fullmatch(host)), None)
    if host is None:
        name, port = scope.get("server") or ("127.0.0.1", None)
        host = name if port is None else f"{name}:{port}"
    told = headers.get("x-forwarded-proto", "").partition(",")[0].strip().lower()
    # A WebSocket's links are for HTTP.
    scheme = told if told in ("http", "https") else str(scope["scheme"]).replace("ws", "http")
    return f"{scheme}://{host}{scope.get('root_path', '').rstrip('/')}"


def same_origin(scope: Mapping[str, Any], headers: Mapping[str, str]) -> bool:
    """Whether a request comes from a page of this server: a page of another's site may make a browser send ours with
    all that lets it in. Browsers say where a request comes from, and no page can make them lie; who does not say it has
    to bring a key in a header, which no page of another's can make a browser do.
    """
    if (site := headers.get("sec-fetch-site")) is not None:
        return site == "same-origin"
    if (sender := headers.get("origin")) is not None:
        # Behind a proxy that ends TLS without a word of it we take https for http; the host is what tells.
        return urlsplit(sender).netloc.lower() == urlsplit(origin(scope, headers)).netloc.lower()
    return "authorization" in headers

"""A caller's URL, read once: what is checked is what is connected to."""

from __future__ import annotations

import re
from collections.abc import Collection
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import urljoin

from yarl import URL

from .addresses import RefusedError

WEB_SCHEMES = ("http", "https")
_MAX_LENGTH = 8192
_CONTROL = re.compile(r"[\x00-\x1f\x7f\\\ud800-\udfff]")
_STRAY_BYTE = re.compile(r"[\udc80-\udcff]")
_HOST = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*")
_NUMERIC_END = re.compile(r"(.*\.)?([0-9]+|0x[0-9a-f]*)")
_READY = re.compile(r"[!-~]*")


def parse_url(text: str, schemes: Collection[str] = WEB_SCHEMES) -> URL:
    """The address to connect to: host in its one form, no credentials, no fragment. Raises RefusedError.

    Path and query stay as written wherever they can be sent so, because a signature in the query may cover them.
    """
    text = text.strip()
    if len(text) > _MAX_LENGTH:
        raise RefusedError(f"the URL is longer than {_MAX_LENGTH:,} characters")
    if _CONTROL.search(text):  # read differently by every parser
        raise RefusedError("the URL contains a backslash or a control character; percent-encode it")
    try:
        url, as_written = URL(text), URL(text, encoded=True)
        port = url.explicit_port
    except ValueError:
        raise RefusedError("the URL cannot be read; write https://host/path") from None
    if url.scheme not in schemes:
        raise RefusedError(f"the URL must begin with {' or '.join(f'{scheme}://' for scheme in schemes)}")
    if url.user is not None or url.password is not None:
        raise RefusedError("the URL contains a user name or a password")
    if not url.raw_host:
        raise RefusedError("the URL has no host; write https://host/path")
    host = canonical_host(url.raw_host)
    if port == 0:
        raise RefusedError("port 0 cannot be connected to")
    sendable = _READY.fullmatch(as_written.raw_path) and _READY.fullmatch(as_written.raw_query_string)
    source = as_written if sendable else url
    return URL.build(
        scheme=url.scheme,
        authority=(f"[{host}]" if ":" in host else host) + (f":{port}" if port else ""),
        path=source.raw_path or "/",
        query_string=source.raw_query_string,
        encoded=True,
    )


def redirect_url(url: URL, location: str) -> URL:
    """Where `location`, the header of an answer from `url`, leads. Raises RefusedError.

    Its bytes that are not UTF-8, which `surrogateescape` has kept, are percent-encoded.
    """
    location = _STRAY_BYTE.sub(lambda byte: f"%{ord(byte[0]) - 0xDC00:02X}", location)
    try:
        target = parse_url(urljoin(str(url), location))
    except RefusedError as error:
        raise RefusedError(f"it redirects, and {error}") from None
    except ValueError:
        raise RefusedError("it redirects to a URL that cannot be read") from None
    if url.scheme == "https" and target.scheme != "https":
        raise RefusedError("it redirects from https to http")
    return target


def canonical_host(host: str) -> str:
    """`host` in the one form that is compared, resolved and connected to. Raises RefusedError.

    A name in lower case and IDNA without its trailing dot, IPv4 as a.b.c.d, IPv6 without brackets.
    """
    try:
        if ":" in host:
            if "%" in host:
                raise ValueError
            return str(IPv6Address(host))
        if not host.isascii():
            host = URL.build(scheme="http", host=host).raw_host or ""
        host = host.lower().removesuffix(".")
        # What ends in a number is an IPv4 address: some readers take octal, hexadecimal and fewer parts for one.
        return str(IPv4Address(host)) if _NUMERIC_END.fullmatch(host) else _name(host)
    except ValueError:
        raise RefusedError("the host is not a name, not an address a.b.c.d and not an address [a:b::c]") from None


def _name(host: str) -> str:
    if not _HOST.fullmatch(host) or len(host) > 253:
        raise ValueError
    return host

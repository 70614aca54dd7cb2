"""No test of this folder reaches anybody, also when the guard it tests has a fault."""

import socket
from asyncio.selector_events import BaseSelectorEventLoop
from ipaddress import ip_address

import pytest
from webhook_desk import Desk


@pytest.fixture(autouse=True)
def _loopback_only(monkeypatch):
    connect = BaseSelectorEventLoop.sock_connect

    async def checked(self, sock, address):
        if sock.family != socket.AF_UNIX:  # that of a database
            target = ip_address(address[0])
            assert (getattr(target, "ipv4_mapped", None) or target).is_loopback, address
        return await connect(self, sock, address)

    monkeypatch.setattr(BaseSelectorEventLoop, "sock_connect", checked)


@pytest.fixture
def desk(store):
    """Before each database."""
    return Desk(store)

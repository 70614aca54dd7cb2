"""The process boundary: an engine in a process of its own, and the client that talks to it over a socket.

`protocol` says what crosses, `connection` carries it, `host` is the replica's side, `client` and `process` are the
server's. Only the host imports torch, and only in its own process.
"""

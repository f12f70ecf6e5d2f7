"""A pooler in transaction mode: it hands each transaction to the other of its two backends."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import cycle
from typing import BinaryIO

from psycopg.conninfo import conninfo_to_dict, make_conninfo

_NO_ENCRYPTION_HERE = {80877103, 80877104}  # SSLRequest, GSSENCRequest


@contextmanager
def pooled(conninfo: str, claims_version: str | None = None) -> Iterator[str]:
    """A pooler in transaction mode before the database, for one client, with two backends.

    Yields how to reach it, over TCP and without encryption. ``claims_version`` is what it
    announces as the server's version.
    """
    read = conninfo_to_dict(conninfo)
    upstream = f"{read['host']}/.s.PGSQL.{read['port']}"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = threading.Thread(
            target=_serve, args=(listener, upstream, claims_version), daemon=True
        )
        serving.start()
        port = listener.getsockname()[1]
        yield make_conninfo(
            conninfo, host="127.0.0.1", port=port, sslmode="disable", connect_timeout=10
        )
        serving.join(timeout=10)
        assert not serving.is_alive(), "the client did not close its connection"


def _serve(listener: socket.socket, upstream: str, claims_version: str | None) -> None:
    with ExitStack() as stack:
        client = stack.enter_context(listener.accept()[0])
        spoken = stack.enter_context(client.makefile("rb"))
        startup = _startup(client, spoken)
        if startup is None:
            return
        backends: list[tuple[socket.socket, BinaryIO]] = []
        for _ in range(2):
            backend = stack.enter_context(socket.socket(socket.AF_UNIX))
            backend.connect(upstream)
            backends.append((backend, stack.enter_context(backend.makefile("rb"))))
        greetings = [_answered(backend, answer, startup) for backend, answer in backends]
        client.sendall(_claiming(greetings[0], claims_version))
        turns = cycle(backends)
        backend, answer = next(turns)
        while asked := _until(spoken, b"QSX"):
            if asked[-1][:1] == b"X":
                return
            answered = _answered(backend, answer, b"".join(asked))
            client.sendall(b"".join(answered))
            if answered[-1][-1:] == b"I":  # ReadyForQuery, in no transaction
                backend, answer = next(turns)


def _startup(client: socket.socket, spoken: BinaryIO) -> bytes | None:
    while length := spoken.read(4):
        body = spoken.read(int.from_bytes(length) - 4)
        if int.from_bytes(body[:4]) not in _NO_ENCRYPTION_HERE:
            return length + body
        client.sendall(b"N")
    return None


def _answered(backend: socket.socket, answer: BinaryIO, asked: bytes) -> list[bytes]:
    backend.sendall(asked)
    return _until(answer, b"Z")


def _until(stream: BinaryIO, last: bytes) -> list[bytes]:
    messages: list[bytes] = []
    while head := stream.read(5):
        messages.append(head + stream.read(int.from_bytes(head[1:]) - 4))
        if head[:1] in (bytes([kind]) for kind in last):
            break
    return messages


def _claiming(greeting: list[bytes], version: str | None) -> bytes:
    name = b"server_version\0"
    if version is not None:
        body = name + version.encode() + b"\0"
        ours = b"S" + (len(body) + 4).to_bytes(4) + body
        greeting = [ours if name in message else message for message in greeting]
    return b"".join(greeting)

"""A proxy before the server's socket: it carries bytes until it is told to cut or to reset."""

from __future__ import annotations

import selectors
import socket
import struct
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

from psycopg.conninfo import conninfo_to_dict, make_conninfo

_CHUNK_BYTES = 65_536
# Linger for no time: close() sends a reset instead of an orderly end.
_RESET = struct.pack("ii", 1, 0)


class Proxy:
    """Listens on loopback, and forwards each connection to the Unix socket of ``conninfo``."""

    def __init__(self, conninfo: str) -> None:
        self._parameters = conninfo_to_dict(conninfo)
        self._target = f"{self._parameters['host']}/.s.PGSQL.{self._parameters['port']}"
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._threads = [threading.Thread(target=self._accept)]

    @property
    def conninfo(self) -> str:
        """How to connect through the proxy."""
        host, port = self._listener.getsockname()
        return make_conninfo(**{**self._parameters, "host": host, "port": port})

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.cut()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(10)

    def cut(self) -> None:
        """End each connection in order, on both sides: the server sees its client leave."""
        for client, server in self._taken():
            for end in (client, server):
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def reset(self) -> None:
        """Reset the client's side, as a firewall does; the server sees its client leave."""
        for client, server in self._taken():
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            client.close()
            with suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)

    def _taken(self) -> list[tuple[socket.socket, socket.socket]]:
        pairs, self._pairs = self._pairs, []
        return pairs

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._target)
            self._pairs.append((client, server))
            carrier = threading.Thread(target=_carry, args=(client, server))
            self._threads.append(carrier)
            carrier.start()


def _carry(client: socket.socket, server: socket.socket) -> None:
    """Forward what comes on either side until one of them ends."""
    with client, server, selectors.DefaultSelector() as selector, suppress(OSError, ValueError):
        for ends in ((client, server), (server, client)):
            selector.register(ends[0], selectors.EVENT_READ, ends)
        while True:
            for key, _ in selector.select():
                source, target = key.data
                if not (data := source.recv(_CHUNK_BYTES)):
                    return
                target.sendall(data)

"""A listening socket of members or of HTTP: hands every accepted connection on, and survives errors of accepting.

Accepts in a reader callback, not in a coroutine: a coroutine that is cancelled in the wrong moment would drop a socket
that it has just accepted. Knows nothing of what is spoken on a connection.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable

LISTEN_BACKLOG = 64
ACCEPTS_PER_TURN_MAX = LISTEN_BACKLOG  # then others have their turn
RETRY_S = 0.2  # after an error, such as too many open files


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on an address; blocks while a name is resolved.

    Raises:
        OSError: the address cannot be listened on.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    with contextlib.ExitStack() as undo:
        listener = undo.enter_context(socket.socket(family, kind, protocol))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setblocking(False)
        try:
            listener.bind(address)
        except OSError as error:
            text = f"cannot listen for members on {host} port {port}: {error.strerror}"
            raise OSError(error.errno, text) from error
        listener.listen(LISTEN_BACKLOG)
        undo.pop_all()
    return listener


class Acceptor:
    """Accepts until it is closed."""

    def __init__(
        self,
        listener: socket.socket,
        *,
        accepted: Callable[[socket.socket], None],
        failed: Callable[[OSError], None],
    ) -> None:
        """`accepted` owns the connection from then on; `failed` hears of an error, after which it goes on."""
        self._listener = listener
        self._accepted = accepted
        self._failed = failed
        self._loop = asyncio.get_running_loop()
        self._retry: asyncio.TimerHandle | None = None
        self._watch()

    @property
    def port(self) -> int:
        """Return the port it listens on."""
        return int(self._listener.getsockname()[1])

    def close(self) -> None:
        """Stop accepting; may be called again."""
        if self._listener.fileno() < 0:
            return
        if self._retry is not None:
            self._retry.cancel()
        self._loop.remove_reader(self._listener)
        self._listener.close()

    def _watch(self) -> None:
        self._retry = None
        self._loop.add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        for _ in range(ACCEPTS_PER_TURN_MAX):
            try:
                connection, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                self._failed(error)
                self._loop.remove_reader(self._listener)
                self._retry = self._loop.call_later(RETRY_S, self._watch)
                return
            connection.setblocking(False)
            self._accepted(connection)

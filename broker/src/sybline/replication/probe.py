"""Asking an address who listens there: one opening that ends once the other side has proved itself."""

import asyncio

from sybline.errors import Unreachable
from sybline.replication.admission import Standing
from sybline.replication.handshake import HandshakeRefused
from sybline.replication.peer_connection import PeerConnection


class Probe:
    """The owner of a connection that only asks."""

    def __init__(self) -> None:
        self._answer: asyncio.Future[Standing] = asyncio.get_running_loop().create_future()

    async def answer(self) -> Standing:
        """Return who is there.

        Raises:
            Unreachable: a stranger, or gone.
        """
        return await self._answer

    # --- peer_connection.Owner ---
    def opened(self, connection: PeerConnection) -> None:
        """Take the answer."""
        standing = connection.handshake.other
        if standing is not None and not self._answer.done():
            self._answer.set_result(standing)
        connection.close()

    def refused(self, connection: PeerConnection, error: HandshakeRefused) -> None:
        """Pass the reason on."""
        self._fail(str(error))

    def frame(self, connection: PeerConnection, kind: int, body: memoryview) -> None:
        """Ignore what is said to somebody else."""

    def broken(self, connection: PeerConnection, reason: str) -> None:
        """It does not speak our language."""
        self._fail(reason)

    def lost(self, connection: PeerConnection) -> None:
        """It hung up."""
        self._fail("the connection was closed")

    def _fail(self, reason: str) -> None:
        if not self._answer.done():
            self._answer.set_exception(Unreachable(reason))

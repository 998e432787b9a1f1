"""The sending half of the product's transport, over the simulated network."""

from tests.simulation.host import Host


class Wire:
    """The sending half of the transport."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def send(self, peer: int, kind: int, body: bytes) -> bool:
        return self._host.network.send(self._host.member, peer, (kind, body))

    def is_connected(self, peer: int) -> bool:
        return self._host.network.is_connected(self._host.member, peer)

    def unsent_bytes(self, _peer: int) -> int:
        return 0

"""Free loopback ports, below the range the kernel gives to outgoing connections.

A member that is down for a moment must find its port free again, so ports of the ephemeral range will not do.
"""

import random
import socket

FIRST, LAST = 15_000, 31_000
_taken: set[int] = set()
_random = random.Random()


def free_port() -> int:
    """Return a loopback port that is free now and was not given out before by this process."""
    for _ in range(1_000):
        port = _random.randrange(FIRST, LAST)
        if port not in _taken and _can_bind(port):
            _taken.add(port)
            return port
    raise AssertionError("no free port found")


def _can_bind(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True

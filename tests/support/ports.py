"""Free loopback ports, below the range the kernel gives to outgoing connections.

A member that is down for a moment must find its port free again, so ports of the ephemeral range will not do. For the
same reason each of several test processes has a part of the range to itself.
"""

import os
import random
import socket

FIRST, LAST = 15_100, 31_000
_taken: set[int] = set()
_random = random.Random()


def free_port(block: int = 1) -> int:
    """Return the first of `block` loopback ports that are free now and were not given out before by this process."""
    first, last = _own_range(
        os.environ.get("PYTEST_XDIST_WORKER", "gw0"),
        int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")),
    )
    for _ in range(1_000):
        port = _random.randrange(first, last - block)
        ports = range(port, port + block)
        if _taken.isdisjoint(ports) and all(_can_bind(each) for each in ports):
            _taken.update(ports)
            return port
    raise AssertionError("no free port found")


def _own_range(worker: str, workers: int) -> tuple[int, int]:
    """Return the part of the range of one of the processes that run tests side by side."""
    size = (LAST - FIRST) // workers
    first = FIRST + int(worker.removeprefix("gw")) * size
    return first, first + size


def _can_bind(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True

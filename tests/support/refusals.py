"""Expecting an error of the broker, and the rules that hold for all of them (wire contract §4.2)."""

from collections.abc import Iterator
from contextlib import contextmanager

import grpc
import pytest

RESERVED = (
    "no valid auth token provided",
    "cannot communicate with non-leader nodes",
    "error reading from server: EOF",
    "transport: Error while dialing dial tcp",
)


@contextmanager
def refused(code: str, text: str = "") -> Iterator[pytest.ExceptionInfo[grpc.aio.AioRpcError]]:
    """Expect a call in the block to fail with this status, and a text that contains `text`."""
    with pytest.raises(grpc.aio.AioRpcError) as info:
        yield info
    error = info.value
    details = error.details() or ""
    assert (error.code().name, text in details) == (code, True), f"{error.code().name}: {details}"
    assert len(details.encode()) <= 1024
    assert "\n" not in details
    intended = code in ("UNAUTHENTICATED", "UNAVAILABLE")
    assert intended or not any(reserved in details for reserved in RESERVED), details

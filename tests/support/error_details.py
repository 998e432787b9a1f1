"""What programs read of an error besides code and text: the `google.rpc` details."""

from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2

_KINDS = ("ErrorInfo", "RetryInfo", "BadRequest")


def unpack_details(encoded: bytes) -> dict[str, Any]:
    """Return the details of an encoded google.rpc.Status by message name, and the status itself as "Status"."""
    status = status_pb2.Status.FromString(encoded)
    unpacked: dict[str, Any] = {"Status": status}
    for kind in _KINDS:
        message = getattr(error_details_pb2, kind)()
        if any(detail.Unpack(message) for detail in status.details):
            unpacked[kind] = message
    return unpacked


def details_of(error: grpc.aio.AioRpcError) -> dict[str, Any]:
    """Return the details that came with a failed call."""
    [encoded] = [
        value for key, value in error.trailing_metadata() or () if key == "grpc-status-details-bin"
    ]
    return unpack_details(encoded)

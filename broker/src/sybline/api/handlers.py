"""The edge of the client API: turns one gRPC call into one call of a method, and whatever happens into a status.

Owns the order session, shape, method; the counting of calls; and the promise that a bug is an answer (INTERNAL) and not
a broken connection (C-9). No interceptors: this is on the way of every message.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import grpc
import structlog
from google.protobuf.message import DecodeError

from sybline.api.call import Call, Context
from sybline.api.error_texts import CallError, refuse
from sybline.api.gate import Gate
from sybline.api.parts import ApiParts
from sybline.api.statuses import DETAILS_KEY, code_of, describe, encode_details
from sybline.errors import SyblineError

log = structlog.get_logger(__name__)

RequestT = TypeVar("RequestT")
OK_STATUS: Final = b"\x08\x01"  # every answer whose field 1 is `status: true`
FALSE_STATUS: Final = b""
_MALFORMED: Final = refuse(
    "INVALID_ARGUMENT", "request is malformed", reason="INVALID_ARGUMENT", field="request"
)
_BUG: Final = refuse("INTERNAL", "internal error of this member", reason="INTERNAL")


@dataclass(frozen=True, slots=True)
class Method(Generic[RequestT]):
    """One method: encoded request in, encoded answer out."""

    name: str
    parse: Callable[[bytes], RequestT]
    serve: Callable[[Call, RequestT], Awaitable[bytes]]
    needs_session: bool = True


class Edge:
    """Wraps methods for gRPC."""

    def __init__(self, parts: ApiParts, gate: Gate) -> None:
        self._clock = parts.clock
        self._metrics = parts.metrics
        self._gate = gate

    def handler(self, method: Method[Any]) -> "grpc.RpcMethodHandler[bytes, bytes]":
        """Return the gRPC handler of a method. Bytes both ways, so that a malformed request is ours to answer."""

        async def behave(raw: bytes, context: Context) -> bytes:
            return await self._answer(method, raw, context)

        return grpc.unary_unary_rpc_method_handler(behave)

    async def _answer(self, method: Method[Any], raw: bytes, context: Context) -> bytes:
        metrics, name, code = self._metrics, method.name, "OK"
        started_s = self._clock.monotonic_s()
        metrics.grpc_started(name)
        call = Call(context, self._clock, started_s)
        try:
            return await self._serve(method, raw, call)
        except CallError as error:
            code = error.code
            return _fail(context, error)
        except SyblineError as error:
            described = describe(error, call.remaining_s())
            code = described.code
            return _fail(context, described)
        except asyncio.CancelledError:
            code = "CANCELLED"  # the client left; what it asked for may still be applied (C-4)
            raise
        except Exception:  # the edge: a bug is an answer (C-9)
            code = _BUG.code
            metrics.grpc_panicked()
            log.exception("call_failed", method=name)
            return _fail(context, _BUG)
        finally:
            metrics.grpc_handled(name, code, self._clock.monotonic_s() - started_s)

    async def _serve(self, method: Method[Any], raw: bytes, call: Call) -> bytes:
        if method.needs_session:
            call.caller = await self._gate.find_caller(call)
        try:
            request = method.parse(raw)
        except DecodeError as error:
            raise _MALFORMED from error
        return await method.serve(call, request)


class Service(grpc.GenericRpcHandler):
    """One gRPC service: finds the handler of a method by its full path; any other path is UNIMPLEMENTED."""

    def __init__(self, name: str, edge: Edge, methods: Iterable[Method[Any]]) -> None:
        self._handlers = {f"/{name}/{method.name}": edge.handler(method) for method in methods}

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> "grpc.RpcMethodHandler[bytes, bytes] | None":
        """Return the handler of a call; None: not of this service."""
        return self._handlers.get(handler_call_details.method)


def _fail(context: Context, error: CallError) -> bytes:
    """Set the status; gRPC sends no body with it."""
    context.set_code(code_of(error))
    context.set_details(error.text)
    context.set_trailing_metadata(((DETAILS_KEY, encode_details(error)),))
    return b""

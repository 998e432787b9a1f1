"""The work of `sybline publish` and `sybline consume`.

A publish carries an idempotency key, and settling twice is settling once: so what fails for a while, or nobody knows
the outcome of, is sent again until the command's time is over.
"""

import argparse
import asyncio
import secrets
import sys
from collections.abc import Iterable, Iterator
from typing import Any, Final

from sybline.cli.admin_client import AdminClient, CallFailed, CommandFailed, connected
from sybline.cli.connection_arguments import Access
from sybline.v1 import mq_pb2

_PAUSE_S: Final = 0.3
_KEY_BYTES: Final = 16
_FETCH_MAX: Final = 100
_QUEUE_SIZE: Final = 100_000  # messages, of a queue made with --create
_RETRY_LIMIT: Final = 3


async def run_command(arguments: argparse.Namespace, access: Access) -> int:
    """Run the command that the arguments name and return the exit status.

    Raises:
        CommandFailed: it could not be done, or not in time.
    """
    work = _publish if arguments.action == "publish" else _consume
    async with connected(access, timeout_s=arguments.timeout) as client:
        await work(client, arguments)
    return 0


async def _publish(client: AdminClient, arguments: argparse.Namespace) -> None:
    if arguments.create:
        queue = mq_pb2.QueueInfo(
            routingKey=arguments.routing_key,
            name=arguments.routing_key,
            size=_QUEUE_SIZE,
            retryLimit=_RETRY_LIMIT,
            hasDLQueue=True,
        )
        await _call(client, "CreateQueue", queue)
    published = 0
    for body in _bodies(arguments.texts):
        message = mq_pb2.MessageInfo(routingKey=arguments.routing_key, data=body)
        try:
            await _call(client, "SubmitMessage", message, key=secrets.token_hex(_KEY_BYTES))
        except CallFailed as error:
            raise CommandFailed(f"{error}; published before: {published}") from error
        published += 1
    print(f"published: {published}")


def _bodies(texts: Iterable[str]) -> Iterator[bytes]:
    """Yield the bodies: the texts, else the lines of the standard input without their ends."""
    given = [text.encode(errors="surrogateescape") for text in texts]
    return iter(given) if given else (line.rstrip(b"\r\n") for line in sys.stdin.buffer)


async def _consume(client: AdminClient, arguments: argparse.Namespace) -> None:
    """Print and settle, batch by batch, until there are enough, or with no number until nothing waits."""
    wanted: int | None = arguments.count
    seen = 0
    while wanted is None or seen < wanted:
        amount = _FETCH_MAX if wanted is None else min(_FETCH_MAX, wanted - seen)
        request = mq_pb2.RequestMessageData(queueName=arguments.queue, amount=amount)
        fetched = (await _call(client, "GetMessages", request)).messages
        if fetched:
            await _show_and_settle(client, arguments.queue, fetched)
            seen += len(fetched)
        elif wanted is None:
            return
        elif client.left_s <= _PAUSE_S:
            raise CommandFailed(f"{seen} of {wanted} messages came within {arguments.timeout:g} s")
        else:
            await asyncio.sleep(_PAUSE_S)


async def _show_and_settle(client: AdminClient, queue: str, fetched: Any) -> None:
    for message in fetched:
        sys.stdout.buffer.write(message.data + b"\n")
    sys.stdout.buffer.flush()
    ids = [message.id for message in fetched]
    await _call(client, "BatchAck", mq_pb2.BatchAckUpdate(queueName=queue, id=ids))


async def _call(client: AdminClient, method: str, request: Any, *, key: str = "") -> Any:
    """Call until there is an outcome.

    Raises:
        CallFailed: refused, or the command's time is over.
    """
    while True:
        try:
            return await client.call_broker(method, request, key=key)
        except CallFailed as error:
            may_be_repeated = error.is_outcome_unknown or error.is_passing
            if not may_be_repeated or client.left_s <= _PAUSE_S:
                raise
        await asyncio.sleep(_PAUSE_S)

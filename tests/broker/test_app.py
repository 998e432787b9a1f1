"""A member as a whole, in this process: what a start that fails leaves behind."""

import socket
from pathlib import Path

import pytest

from sybline.app import Broker
from sybline.config import load_settings
from sybline.replication.storage_errors import CorruptData
from tests.support.ports import free_port


async def test_a_start_that_fails_leaves_nobody_listening_and_no_connection_open(
    tmp_path: Path,
) -> None:
    (tmp_path / "IDENTITY").write_bytes(b"no identity of ours")
    port = free_port()
    environment = {
        "SYBLINE_DEVELOPMENT": "true",
        "SYBLINE_MEMBER__DATA_DIR": str(tmp_path),
        "SYBLINE_LISTEN__HOST": "127.0.0.1",
        "SYBLINE_LISTEN__HTTP_PORT": str(port),
        "SYBLINE_LISTEN__GRPC_PORT": str(free_port()),
        "SYBLINE_LISTEN__PEER_PORT": str(free_port()),
    }
    broker = Broker(load_settings(None, environment))
    with pytest.raises(CorruptData):
        await broker.start()
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), 1):
        pass

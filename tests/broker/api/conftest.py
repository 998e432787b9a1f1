"""One member's API on a real port, in front of a log in memory, and clients of it."""

from collections.abc import AsyncIterator

import pytest

from tests.support.api_server import Api, serving_api
from tests.support.client import Client


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with serving_api() as serving:
        yield serving


@pytest.fixture
async def client(api: Api) -> AsyncIterator[Client]:
    """The administrator, logged in."""
    async with api.client() as logged_in:
        yield logged_in


@pytest.fixture
async def other(api: Api) -> AsyncIterator[Client]:
    """Another session of the administrator."""
    async with api.client() as logged_in:
        yield logged_in

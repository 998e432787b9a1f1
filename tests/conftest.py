"""What every test shares: garbage is collected where it was made, and a busy machine is no defect.

A socket or a coroutine that a test leaves behind is otherwise noticed by whichever test runs when the collector does,
and there it warns inside unrelated code.
"""

import gc
from collections.abc import Iterator

import pytest
from hypothesis import settings

# A hang ends with the test's own time-out.
settings.register_profile("sybline", deadline=None)
settings.load_profile("sybline")


@pytest.fixture(scope="module", autouse=True)
def nothing_is_left_to_the_collector() -> Iterator[None]:
    """Collect after each module, so that a leak fails the module that leaks."""
    yield
    gc.collect()

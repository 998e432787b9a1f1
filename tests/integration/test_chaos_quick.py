"""A short chaos run in every test run; `make chaos` is the long one."""

from pathlib import Path

import pytest

from tests.chaos.rounds import QUICK
from tests.chaos.run import run_chaos

pytestmark = pytest.mark.integration
SEED = 3


async def test_a_short_chaos_run_is_clean(tmp_path: Path) -> None:
    outcome = await run_chaos(tmp_path, QUICK, SEED)
    assert outcome.is_good, outcome.summary()

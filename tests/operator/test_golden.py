"""All children of a handful of specs, as files that a reviewer can read: `python -m tests.operator.golden_objects`."""

import pytest

from tests.operator.golden_objects import CHARTS, GOLDEN, as_text, children, specs

FOUND = specs()
ADVICE = "run `python -m tests.operator.golden_objects` and look at the difference"


@pytest.mark.parametrize("name", sorted(FOUND))
def test_the_children_of_a_cluster_are_those_of_its_golden_file(name: str) -> None:
    assert as_text(children(*FOUND[name])) == (GOLDEN / f"{name}.yaml").read_text(), ADVICE


def test_no_golden_file_is_left_over() -> None:
    known = {*FOUND, *(f"chart-{name}" for name in CHARTS)}
    assert {path.stem for path in GOLDEN.glob("*.yaml")} == known

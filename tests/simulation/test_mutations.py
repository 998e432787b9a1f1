"""The simulator's teeth: each safety rule that is switched off is noticed by the run that found it first."""

import pytest

from tests.simulation.mutation import Mutation
from tests.simulation.mutation_table import MUTATIONS
from tests.simulation.mutations import find, known_seeds

pytestmark = pytest.mark.simulation
OTHER_RUNS = 120  # when the product has changed so that the known run no longer meets the rule


@pytest.mark.parametrize("mutation", MUTATIONS, ids=[m.rule for m in MUTATIONS])
def test_a_rule_that_is_switched_off_is_noticed(mutation: Mutation) -> None:
    known = known_seeds().get(mutation.rule)
    assert find(mutation, [known] if known else [], OTHER_RUNS) is not None


def test_a_mutation_is_undone_afterwards() -> None:
    mutation = MUTATIONS[0]
    change = mutation.changes[0]
    before = vars(change.owner)[change.function].__code__
    with mutation.applied():
        assert vars(change.owner)[change.function].__code__ is not before
    assert vars(change.owner)[change.function].__code__ is before

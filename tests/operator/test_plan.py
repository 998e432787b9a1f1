"""The planner over a model of a cluster: whatever happens in between, it converges and never breaks a quorum itself."""

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from sybline_operator.observation import Observed
from sybline_operator.plan import Goal, make_plan
from sybline_operator.steps import (
    AddMember,
    HandOver,
    PromoteMember,
    RecordFounding,
    RemoveMember,
    RestartPod,
    SetReplicas,
    WriteTemplate,
)
from tests.operator.world import NAMES, World

LOOKS_MAX = 400


def settle(world: World, goal: Goal) -> list[object]:
    """Reconcile until nothing is left to do and return the steps taken."""
    world.wanted_template = goal.template_hash
    steps: list[object] = []
    for _ in range(LOOKS_MAX):
        world.pass_time()
        plan = make_plan(goal, world.observe())
        if plan.step is not None:
            steps.append(plan.step)
            world.carry_out(plan.step)
        elif plan.is_done:
            assert [m.name for m in world.members if not m.voter] == []
            names = sorted(member.name for member in world.members)
            assert names == sorted(NAMES.pod(ordinal) for ordinal in range(goal.replicas))
            assert {pod.template for pod in world.pods.values()} == {goal.template_hash}
            assert world.replicas == goal.replicas
            return steps
    raise AssertionError(f"still at it: {make_plan(goal, world.observe())}, {world}")


def test_a_new_cluster_is_founded_by_its_first_pod_and_the_others_join_one_by_one() -> None:
    world = World("a")
    steps = settle(world, Goal(3, "a"))
    kinds = [type(step).__name__ for step in steps]
    assert kinds == [
        "PermitFounding", "SetReplicas", "RecordFounding",
        "AddMember", "PromoteMember", "AddMember", "PromoteMember",
    ]  # fmt: skip
    assert not world.has_seed


def test_a_cluster_at_rest_has_nothing_to_do() -> None:
    world = World("a")
    settle(world, Goal(3, "a"))
    assert settle(world, Goal(3, "a")) == []


def test_a_member_leaves_before_its_pod_does_the_highest_ordinal_first() -> None:
    world = World("a")
    settle(world, Goal(5, "a"))
    steps = settle(world, Goal(3, "a"))
    named = [s.name for s in steps if isinstance(s, RemoveMember)]
    assert named == [NAMES.pod(4), NAMES.pod(3)]
    assert [s.replicas for s in steps if isinstance(s, SetReplicas)] == [4, 3]


def test_a_leader_that_is_to_leave_hands_over_first() -> None:
    world = World("a")
    settle(world, Goal(3, "a"))
    world.leader = next(m.id for m in world.members if m.name == NAMES.pod(2))
    steps = settle(world, Goal(1, "a"))
    kinds = [type(step) for step in steps]
    assert kinds.index(HandOver) < kinds.index(RemoveMember)


def test_a_roll_restarts_one_after_the_other_and_the_leader_last() -> None:
    world = World("a")
    settle(world, Goal(3, "a"))
    leader = next(m.name for m in world.members if m.id == world.leader)
    steps = settle(world, Goal(3, "b"))
    restarted = [s.pod for s in steps if isinstance(s, RestartPod)]
    assert sorted(restarted) == [NAMES.pod(ordinal) for ordinal in range(3)]
    assert restarted[-1] == leader
    assert isinstance(steps[0], WriteTemplate)
    assert sum(isinstance(s, HandOver) for s in steps) == 1


def test_a_restart_that_is_not_approved_waits_and_says_nothing_to_the_pods() -> None:
    world = World("a")
    settle(world, Goal(3, "a"))
    plan = make_plan(Goal(3, "b", may_restart=False), world.observe())
    assert plan.is_done


def test_a_template_that_cannot_start_stops_at_the_first_pod_and_heals_when_it_is_mended() -> None:
    world = World("a", broken={"bad"})
    settle(world, Goal(3, "a"))
    world.wanted_template = "bad"
    goal = Goal(3, "bad")
    for _ in range(50):
        world.pass_time()
        plan = make_plan(goal, world.observe())
        if plan.step is not None:
            world.carry_out(plan.step)
    assert [pod.template for pod in world.pods.values()].count("bad") == 1
    assert world.has_quorum
    settle(world, Goal(3, "c"))


def test_a_member_that_lost_its_disk_is_replaced_by_a_new_one() -> None:
    world = World("a")
    settle(world, Goal(3, "a"))
    lost = world.disks[1]
    world.lose_disk(1)
    steps = settle(world, Goal(3, "a"))
    assert any(isinstance(s, RemoveMember) and s.id == lost for s in steps)
    assert any(isinstance(s, AddMember) and s.pod == NAMES.pod(1) for s in steps)
    assert lost not in {member.id for member in world.members}


def test_without_a_quorum_nothing_is_done() -> None:
    world = World("a")
    settle(world, Goal(3, "a"))
    world.kill(0)
    world.kill(1)
    plan = make_plan(Goal(1, "b"), world.observe())
    assert plan.step is None
    assert "quorum" in plan.waiting


def test_a_founded_cluster_is_never_founded_again_even_when_everything_is_gone() -> None:
    world = World("a")
    settle(world, Goal(3, "a"))
    for ordinal in range(3):
        world.lose_disk(ordinal)
    for _ in range(30):
        world.pass_time()
        plan = make_plan(Goal(3, "a"), world.observe())
        if plan.step is not None:
            world.carry_out(plan.step)
    assert world.founded == 1


@dataclass
class Look:
    """What happens around one reconcile."""

    fault: str
    ordinal: int
    stale: bool
    interrupted: bool


LOOKS = st.lists(
    st.builds(
        Look,
        fault=st.sampled_from(["", "", "", "kill", "disk", "seed left"]),
        ordinal=st.integers(0, 4),
        stale=st.booleans(),
        interrupted=st.booleans(),
    ),
    max_size=60,
)


@settings(max_examples=300, deadline=None)
@given(
    looks=LOOKS,
    goals=st.lists(
        st.builds(Goal, st.sampled_from([1, 3, 5]), st.sampled_from(["a", "b"]), st.booleans()),
        min_size=1, max_size=4,
    ),
)  # fmt: skip
def test_whatever_is_killed_stale_or_interrupted_it_converges_and_breaks_no_quorum(
    looks: list[Look], goals: list[Goal]
) -> None:
    world = World("a")
    stale: Observed = world.observe()
    for at, look in enumerate(looks):
        goal = goals[at * len(goals) // len(looks)]
        world.wanted_template = goal.template_hash
        _happen(world, look)
        world.pass_time()
        fresh = world.observe()
        plan = make_plan(goal, stale if look.stale else fresh)
        stale = fresh
        if plan.step is not None and not look.interrupted:
            world.carry_out(plan.step)
    if _survives(world):
        settle(world, goals[-1])


def _happen(world: World, look: Look) -> None:
    """Let a fault happen, one that the cluster can bear."""
    members = [m for m in world.voters() if NAMES.ordinal(m.name) == look.ordinal]
    bears = world.fit() - bool(members) >= world.quorum
    if look.fault == "kill":
        world.kill(look.ordinal)
    elif look.fault == "disk" and bears and world.cluster_uid:
        world.lose_disk(look.ordinal)


def _survives(world: World) -> bool:
    """Return whether the disks that are left can make a quorum."""
    held = sum(m.id in world.disks.values() for m in world.voters())
    return not world.members or held >= world.quorum


def test_the_seed_is_taken_away_after_a_crash_between_founding_and_recording() -> None:
    world = World("a")
    settle(world, Goal(1, "a"))
    world.has_seed = True
    assert make_plan(Goal(1, "a"), world.observe()).step == RecordFounding(77)


def test_a_learner_is_promoted_before_anything_else_begins() -> None:
    world = World("a")
    settle(world, Goal(3, "a"))
    world.members[2].voter = False
    plan = make_plan(Goal(5, "b"), world.observe())
    assert isinstance(plan.step, PromoteMember)

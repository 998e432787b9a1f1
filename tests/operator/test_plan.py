"""The planner over a model of a cluster: whatever happens in between, it converges and never breaks a quorum itself."""

from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sybline_operator.decision import Goal, Plan
from sybline_operator.observation import Observed, StopVerdict
from sybline_operator.plan import make_plan
from sybline_operator.reasons import Refusal
from sybline_operator.steps import (
    AddMember,
    HandOver,
    PromoteMember,
    RecordFounding,
    RemoveMember,
    RestartPod,
    SetReplicas,
    Step,
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
            assert f"{world.template_gib}Gi" == goal.storage_size
            for member in world.members:
                claim = world.claims[NAMES.ordinal(member.name) or 0]
                assert world.recorded[member.id].claim_uid == str(claim.uid)
            grown = {world.claims[ordinal].has_gib for ordinal in range(goal.replicas)}
            assert grown == {world.template_gib}
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
    assert plan.refusal is Refusal.RESTART_WAITS


def test_a_roll_whose_leave_ends_stops_between_two_members_and_goes_on_with_it() -> None:
    world = World("a")
    settle(world, Goal(3, "a"))
    world.wanted_template = "b"
    taken: list[object] = []
    for _ in range(50):
        world.pass_time()
        is_half = any(isinstance(step, RestartPod) for step in taken)
        plan = make_plan(Goal(3, "b", may_restart=not is_half), world.observe())
        if plan.step is not None:
            taken.append(plan.step)
            world.carry_out(plan.step)
    assert sorted(pod.template for pod in world.pods.values()) == ["a", "a", "b"]
    assert plan == Plan(refusal=Refusal.RESTART_WAITS)
    steps = settle(world, Goal(3, "b"))
    assert sum(isinstance(step, RestartPod) for step in steps) == 2


@pytest.mark.parametrize("template", ["bad", "ends", "mute"])
def test_a_template_that_cannot_start_stops_at_the_first_pod_and_heals_when_it_is_mended(
    template: str,
) -> None:
    world = World("a", broken={"bad"}, ending={"ends"}, silent={"mute"})
    settle(world, Goal(3, "a"))
    world.wanted_template = template
    goal = Goal(3, template)
    for _ in range(50):
        world.pass_time()
        plan = make_plan(goal, world.observe())
        if plan.step is not None:
            world.carry_out(plan.step)
    assert [pod.template for pod in world.pods.values()].count(template) == 1
    assert world.has_quorum
    mended = Goal(3, "c", may_restart=False)
    for _ in range(50):
        world.wanted_template = "c"
        world.pass_time()
        plan = make_plan(mended, world.observe())
        if plan.step is not None:
            world.carry_out(plan.step)
    assert sorted(pod.template for pod in world.pods.values()) == ["a", "a", "c"]
    settle(world, Goal(3, "c"))


@pytest.mark.parametrize("template", ["bad", "ends", "mute"])
def test_a_cluster_that_never_started_heals_when_its_template_is_mended(template: str) -> None:
    world = World(template, broken={"bad"}, ending={"ends"}, silent={"mute"})
    for _ in range(20):
        world.pass_time()
        plan = make_plan(Goal(3, template), world.observe())
        if plan.step is not None:
            world.carry_out(plan.step)
    assert not world.founded
    settle(world, Goal(3, "c"))


def test_a_member_that_ended_once_and_is_needed_is_not_taken_for_stuck() -> None:
    world = World("a", ending={"ends"})
    settle(world, Goal(3, "a"))
    world.template = "b"  # a roll is under way
    seen = world.observe()
    shaken = replace(seen.pods[1], ready=False, trouble="ended soon after its start")
    others = {m.id: StopVerdict(False, "TOO_FEW_HEALTHY", "no") for m in world.members}
    pods = (seen.pods[0], shaken, seen.pods[2])
    plan = make_plan(Goal(3, "b"), replace(seen, pods=pods, verdicts=others))
    assert plan.step is None


def test_what_is_said_of_a_template_is_kept_true_without_a_restart() -> None:
    world = World("a")
    settle(world, Goal(3, "a"))
    plan = make_plan(Goal(3, "a", made_of="of another spec"), world.observe())
    assert plan.step == WriteTemplate()


def test_a_member_that_lost_its_disk_is_replaced_by_a_new_one() -> None:
    world = World("a")
    settle(world, Goal(3, "a"))
    lost = world.disks[1]
    world.lose_disk(1)
    steps = settle(world, Goal(3, "a"))
    assert any(isinstance(s, RemoveMember) and s.id == lost for s in steps)
    assert any(isinstance(s, AddMember) and s.pod == NAMES.pod(1) for s in steps)
    assert lost not in {member.id for member in world.members}


def test_a_disk_restored_from_a_copy_counts_for_nothing_until_it_has_everything_again() -> None:
    world = World("a")
    settle(world, Goal(3, "a"))
    copied = world.disks[1]
    world.copy_disk(1)
    steps = settle(world, Goal(3, "a"))
    [removed] = [s for s in steps if isinstance(s, RemoveMember)]
    assert removed.id == copied
    assert "older copy" in removed.why
    assert sum(isinstance(s, PromoteMember) for s in steps) == 1
    assert copied in {member.id for member in world.members}


def test_the_disk_of_a_member_alone_is_what_it_has() -> None:
    world = World("a")
    settle(world, Goal(1, "a"))
    world.copy_disk(0)
    assert settle(world, Goal(1, "a")) == []


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
        fault=st.sampled_from(
            ["", "", "", "kill", "disk", "copy", "workload", "all pods", "seed left"]
        ),
        ordinal=st.integers(0, 4),
        stale=st.booleans(),
        interrupted=st.booleans(),
    ),
    max_size=60,
)


def _never_shrinking(goals: list[Goal]) -> list[Goal]:
    """Order the sizes: the API server refuses disks that are to shrink."""
    sizes = sorted(goal.storage_size for goal in goals)
    return [replace(goal, storage_size=size) for goal, size in zip(goals, sizes, strict=True)]


@settings(max_examples=300, deadline=None)
@given(
    looks=LOOKS,
    goals=st.lists(
        st.builds(
            Goal, st.sampled_from([1, 3, 5]), st.sampled_from(["a", "b", "b", "bad", "ends"]), st.booleans(),
            storage_size=st.sampled_from(["10Gi", "10Gi", "20Gi"]),
            may_restart=st.booleans(), may_mend=st.booleans(),
        ),
        min_size=1, max_size=4,
    ).map(_never_shrinking),
)  # fmt: skip
def test_whatever_is_killed_stale_or_interrupted_it_converges_and_breaks_no_quorum(
    looks: list[Look], goals: list[Goal]
) -> None:
    world = World("a", broken={"bad"}, ending={"ends"}, silent={"mute"})
    stale: Observed = world.observe()
    for at, look in enumerate(looks):
        goal = goals[at * len(goals) // len(looks)]
        world.wanted_template = goal.template_hash
        _happen(world, look)
        world.pass_time()
        fresh = world.observe()
        seen, stale = (stale if look.stale else fresh), fresh
        plan = make_plan(goal, seen)
        _check_restarts(goal, seen, plan.step)
        if plan.step is not None and not look.interrupted:
            world.carry_out(plan.step)
    if _survives(world):
        settle(world, replace(goals[-1], template_hash="c", may_restart=True, may_mend=True))


def _check_restarts(goal: Goal, seen: Observed, step: Step | None) -> None:
    """Without leave, nobody who serves is restarted, nor would come back another after a loss."""
    if goal.may_restart:
        return
    stuck = {pod.name for pod in seen.pods if pod.trouble and not pod.ready}
    if isinstance(step, RestartPod):
        assert step.pod in stuck
    if isinstance(step, WriteTemplate):
        assert stuck
        assert goal.may_mend


def _happen(world: World, look: Look) -> None:
    """Let a fault happen, one that the cluster can bear."""
    members = [m for m in world.voters() if NAMES.ordinal(m.name) == look.ordinal]
    bears = world.fit() - bool(members) >= world.quorum
    if look.fault == "kill":
        world.kill(look.ordinal)
    elif look.fault == "disk" and bears and world.cluster_uid:
        world.lose_disk(look.ordinal)
    elif look.fault == "copy" and bears:
        world.copy_disk(look.ordinal)
    elif look.fault == "workload":
        world.lose_workload()
    elif look.fault == "all pods":
        world.lose_workload(with_pods=True)
    elif look.fault == "seed left" and world.founded_uid:
        world.has_seed = True


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

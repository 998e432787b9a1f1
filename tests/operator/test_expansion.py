"""Growing disks: in which order, what is waited for, and that a refusal leaves everything as it was."""

from dataclasses import replace

from sybline_operator import expansion
from sybline_operator.decision import Goal
from sybline_operator.observation import ClaimSeen, Observed, PodSeen, WorkloadSeen
from sybline_operator.plan import make_plan
from sybline_operator.reasons import Refusal
from sybline_operator.steps import ExpandClaim, ReplaceWorkload, SetReplicas
from tests.operator.test_plan import settle
from tests.operator.world import NAMES, World

GIB = 1 << 30


def claim(ordinal: int, asked: int, has: int | None = None) -> ClaimSeen:
    """A claim that asks for so many GiB and has them, unless said otherwise."""
    has_gib = asked if has is None else has
    return ClaimSeen(NAMES.claim(ordinal), f"uid-{ordinal}", asked * GIB, has_gib * GIB, True)


def seen(*claims: ClaimSeen, template: str = "1Gi", replicas: int = 3) -> Observed:
    """A StatefulSet of so many pods, and claims."""
    return Observed(
        NAMES,
        WorkloadSeen(replicas, {}, "a", template, uid="first"),
        claims={each.name: each for each in claims},
    )


def test_each_disk_asks_for_more_then_the_statefulset_is_made_anew() -> None:
    found = seen(claim(0, 2), claim(1, 1), claim(2, 1))
    assert expansion.next_step("2Gi", found) == ExpandClaim(NAMES.claim(1), "uid-1", "2Gi")
    found = seen(claim(0, 2), claim(1, 2), claim(2, 2))
    assert expansion.next_step("2Gi", found) == ReplaceWorkload("first", "2Gi")


def test_at_the_wanted_size_nothing_is_done_whatever_the_unit() -> None:
    found = seen(claim(0, 1), claim(1, 1), claim(2, 1), template="1024Mi")
    assert expansion.next_step("1Gi", found) is None
    assert not expansion.waited_for("1Gi", found)
    assert not expansion.hindrance("1Gi", found)


def test_if_one_disk_may_not_grow_none_does() -> None:
    barred = replace(claim(2, 1), refused="the class does not allow it")
    found = seen(claim(0, 1), claim(1, 1), barred)
    assert expansion.next_step("2Gi", found) is None
    assert "data-orders-2 cannot grow to 2Gi: the class" in expansion.hindrance("2Gi", found)


def test_the_statefulset_waits_for_the_provisioner_whose_words_are_told() -> None:
    slow = replace(claim(1, 2, has=1), resizing="ControllerResizeError: no space")
    found = seen(claim(0, 2), slow, claim(2, 2))
    assert expansion.next_step("2Gi", found) is None
    assert expansion.waited_for("2Gi", found) == (
        "data-orders-1 grows to 2Gi, ControllerResizeError: no space"
    )


def test_a_claim_that_waits_for_a_disk_or_is_going_holds_nothing_up() -> None:
    pending = replace(claim(1, 1), bound=False)
    going = replace(claim(2, 1), deleting=True)
    found = seen(claim(0, 2), pending, going)
    assert expansion.next_step("2Gi", found) == ReplaceWorkload("first", "2Gi")


def test_disks_that_scaling_down_left_stay_as_they_are() -> None:
    found = seen(claim(0, 2), claim(1, 1), template="2Gi", replicas=1)
    assert expansion.next_step("2Gi", found) is None


def test_a_statefulset_in_force_keeps_its_template_and_a_new_one_has_what_the_disks_asked_for() -> (
    None
):
    found = seen(claim(0, 2), claim(1, 1), claim(2, 1))
    assert expansion.template_size("2Gi", found) == "1Gi"
    pods = tuple(pod(ordinal) for ordinal in range(2))
    half = replace(found, workload=None, pods=pods)
    assert expansion.template_size("2Gi", half) == str(GIB)
    grown = replace(half, claims={NAMES.claim(0): claim(0, 2), NAMES.claim(1): claim(1, 2)})
    assert expansion.template_size("2Gi", grown) == "2Gi"


def pod(ordinal: int) -> PodSeen:
    """A pod that serves."""
    return PodSeen(
        NAMES.pod(ordinal), ordinal, f"pod-{ordinal}", "10.0.0.1", "node1", True, False, True, "a"
    )


def test_disks_grow_and_no_pod_is_touched() -> None:
    world = World("a")
    settle(world, Goal(3, "a"))
    pods = {ordinal: each.uid for ordinal, each in world.pods.items()}
    steps = settle(world, Goal(3, "a", storage_size="20Gi"))
    kinds = [type(step).__name__ for step in steps]
    assert kinds == ["ExpandClaim"] * 3 + ["ReplaceWorkload", "SetReplicas"]
    assert {ordinal: each.uid for ordinal, each in world.pods.items()} == pods


def test_the_pod_template_in_force_outlives_the_statefulset() -> None:
    world = World("a")
    settle(world, Goal(3, "a"))
    goal = Goal(3, "b", may_restart=False, storage_size="20Gi")
    world.wanted_template = "b"
    while (step := make_plan(goal, world.observe()).step) is not None:
        world.carry_out(step)
        world.pass_time()
    assert world.template_gib == 20
    assert world.template == "a"


def test_disks_grow_without_a_quorum_for_a_full_one_may_be_the_reason() -> None:
    world = World("a")
    settle(world, Goal(3, "a"))
    world.kill(0)
    world.kill(1)
    plan = make_plan(Goal(3, "a", storage_size="20Gi"), world.observe())
    assert isinstance(plan.step, ExpandClaim)


def test_without_a_quorum_too_it_is_told_that_a_disk_may_not_grow() -> None:
    world = World("a", may_grow=False)
    settle(world, Goal(3, "a"))
    world.kill(0)
    world.kill(1)
    plan = make_plan(Goal(3, "a", storage_size="20Gi"), world.observe())
    assert plan.refusal is Refusal.DISK_CANNOT_GROW


def test_a_disk_that_may_not_grow_is_told_and_stops_nothing_else() -> None:
    world = World("a", may_grow=False)
    settle(world, Goal(3, "a"))
    goal = Goal(5, "b", storage_size="20Gi")
    world.wanted_template = "b"
    for _ in range(60):
        world.pass_time()
        plan = make_plan(goal, world.observe())
        if plan.step is not None:
            world.carry_out(plan.step)
    assert plan.refusal is Refusal.DISK_CANNOT_GROW
    assert {each.template for each in world.pods.values()} == {"b"}
    assert len(world.voters()) == 5
    assert {each.asked_gib for each in world.claims.values()} == {10}


def test_a_statefulset_that_is_gone_is_made_large_enough_for_all_that_were_members() -> None:
    world = World("a")
    settle(world, Goal(5, "a"))
    world.lose_workload(with_pods=True)
    plan = make_plan(Goal(1, "a"), world.observe())
    assert plan.step == SetReplicas(5, "the StatefulSet is gone")

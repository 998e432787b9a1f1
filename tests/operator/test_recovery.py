"""A lost quorum: told exactly and not too soon, left alone, and recovered from only as asked for, by one survivor."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sybline_operator import limits, recovery
from sybline_operator.decision import Goal, Plan
from sybline_operator.manifests.common import Owner, Wanted
from sybline_operator.manifests.configuration import ORDER_KEY
from sybline_operator.observation import RecoveryRecord, RecoverySeen, Victim
from sybline_operator.plan import make_plan
from sybline_operator.reasons import Refusal
from sybline_operator.recovery_record import config_map, look_at_recovery, order_patch
from sybline_operator.resource.spec import ClusterSpec
from sybline_operator.status import describe
from sybline_operator.steps import BeginRecovery, FinishRecovery, Step
from tests.operator.recovery_world import LostWorld
from tests.operator.world import NAMES

LOOKS_MAX = 300


def lost(*ordinals: int, replicas: int = 3) -> LostWorld:
    """Return a cluster whose members of these ordinals have lost their disks, for long enough."""
    world = LostWorld.of(replicas)
    world.destroy(*ordinals)
    world.wait()
    return world


def request_of(world: LostWorld) -> str:
    loss = recovery.assess(world.observe())
    assert loss is not None
    return loss.request


def plan_for(world: LostWorld, **goal: object) -> Plan:
    return make_plan(replace(Goal(3, "a"), **goal), world.observe())


def recover(world: LostWorld, goal: Goal) -> list[Step]:
    """Look until nothing is left to do and return the steps."""
    world.wanted_template = goal.template_hash
    steps: list[Step] = []
    for _ in range(LOOKS_MAX):
        world.pass_time()
        plan = make_plan(goal, world.observe())
        if plan.step is not None:
            steps.append(plan.step)
            world.carry_out(plan.step)
        elif plan.is_done:
            return steps
    raise AssertionError(f"still at it: {make_plan(goal, world.observe())}")


def facts(world: LostWorld, **goal: object) -> dict[str, tuple[bool, str, str]]:
    seen = world.observe()
    wish = replace(Goal(3, "a"), **goal)
    _, found = describe(seen, make_plan(wish, seen), wish, generation=1)
    return {fact.type: (fact.is_true, fact.reason, fact.message) for fact in found}


# --- what is told ---
def test_the_loss_is_told_with_who_answers_who_is_missing_and_what_is_needed() -> None:
    told = facts(lost(1, 2))
    assert told["QuorumHealthy"] == (
        False,
        Refusal.QUORUM_LOST,
        "no leader that a quorum confirms: 1 of 3 voters answers, 2 are needed; missing: orders-1 (its pod has "
        "another disk), orders-2 (its pod has another disk); to go on with orders-0 alone, see status.recovery",
    )
    assert told["Available"][0] is False
    assert told["Recovery"][:2] == (False, "Offered")


def test_status_names_survivors_missing_members_the_advised_one_and_the_request() -> None:
    world = lost(1, 2)
    shown = recovery.show(world.observe())
    assert shown == {
        "survivors": [
            {
                "name": "orders-0",
                "memberId": "1",
                "lastTerm": 4,
                "lastIndex": 100,
                "commitIndex": 100,
            }
        ],
        "missing": ["orders-1", "orders-2"],
        "advised": "orders-0",
        "request": f"orders-0/{world.version}/77/4-100",
        "phase": "Offered",
    }


def test_the_survivor_with_the_later_last_term_is_advised_and_then_the_longer_log() -> None:
    world = lost(2, 3, 4, replicas=5)
    world.positions = {world.disks[0]: (4, 900), world.disks[1]: (5, 10)}
    assert request_of(world).startswith("orders-1/")
    world.positions = {world.disks[0]: (5, 11), world.disks[1]: (5, 10)}
    assert request_of(world).startswith("orders-0/")
    shown = recovery.show(world.observe())
    assert shown is not None
    assert [row["name"] for row in shown["survivors"]] == ["orders-0", "orders-1"]


def test_nothing_is_told_prematurely() -> None:
    world = LostWorld.of(3)
    world.destroy(1, 2)
    world.wait(limits.RECOVERY_OFFERED_AFTER_S / 2)
    told = facts(world)
    assert told["QuorumHealthy"][:2] == (False, "NoLeader")
    assert told["Recovery"][:2] == (False, "NotNeeded")
    assert recovery.show(world.observe()) is None


def test_a_cluster_that_is_being_founded_has_lost_nothing() -> None:
    world = LostWorld("a")
    world.without_quorum_s = 10_000.0
    for _ in range(3):
        told = facts(world)
        assert told["QuorumHealthy"][:2] == (False, "NotFounded")
        assert recovery.show(world.observe()) is None
        step = make_plan(Goal(3, "a"), world.observe()).step
        if step is not None:
            world.carry_out(step)


def test_members_that_start_again_are_waited_for_and_this_is_told() -> None:
    world = LostWorld.of(3)
    world.lose_node(1, 2)
    world.wait()
    assert request_of(world)
    world.node_is_back(1)
    world._create(1)  # a new pod with the old disk, not running yet
    loss = recovery.assess(world.observe())
    assert loss is not None
    assert not loss.is_offered
    assert "orders-1 (its pod starts)" in loss.text
    assert loss.text.endswith("enough to elect a leader are starting: wait")


def test_a_majority_that_answers_and_has_no_leader_yet_is_told_to_elect_one() -> None:
    world = lost(2)
    world.leader = 0
    world.without_quorum_s = 10_000.0
    loss = recovery.assess(world.observe())
    assert loss is not None
    assert not loss.is_offered
    assert "2 of 3 voters answer, 2 are needed; missing: orders-2" in loss.text
    assert loss.text.endswith("enough to elect a leader: wait")


def test_without_any_disk_that_answers_nothing_is_offered() -> None:
    loss = recovery.assess(lost(0, 1, 2).observe())
    assert loss is not None
    assert (loss.text, loss.request) == ("no member that has a disk of this cluster answers", "")


def test_members_of_two_clusters_are_not_compared() -> None:
    world = lost(1, 2)
    seen = world.observe()
    stranger = replace(seen.statuses["orders-0"], cluster_uid=9)
    seen = replace(seen, statuses={**seen.statuses, "orders-1": stranger}, founded_uid=0)
    loss = recovery.assess(seen)
    assert loss is not None
    assert not loss.is_offered
    assert "different clusters" in loss.text


def test_what_is_told_does_not_move_while_nothing_happens() -> None:
    world = lost(1, 2)
    before = (facts(world), recovery.show(world.observe()))
    world.wait(1_000.0)
    assert (facts(world), recovery.show(world.observe())) == before


def test_a_member_that_serves_proves_a_leader_that_only_the_operator_does_not_reach() -> None:
    world = lost(1, 2)
    seen = world.observe()
    serving = replace(seen.statuses["orders-0"], ready=True)
    loss = recovery.assess(replace(seen, statuses={"orders-0": serving}))
    assert loss is not None
    assert not loss.is_offered
    assert "orders-0 serves, so there is a leader" in loss.text
    assert "orders-admin" in loss.text


# --- what is never done without a quorum ---
def test_without_a_quorum_nothing_is_scaled() -> None:
    for replicas in (1, 5):
        assert plan_for(lost(1, 2), replicas=replicas).step is None


def test_without_a_quorum_no_running_member_is_restarted() -> None:
    world = lost(1, 2)
    world.wanted_template = "b"
    assert plan_for(world, template_hash="b").step is None


def test_without_a_quorum_no_claim_is_deleted() -> None:
    world = lost(1, 2)
    assert plan_for(world, replicas=1, delete_claims=True).step is None


def test_without_a_quorum_nothing_is_founded_even_when_the_status_was_wiped() -> None:
    world = lost(0, 1)
    assert plan_for(world).step is None
    world.founded_uid = 0
    for _ in range(LOOKS_MAX):
        world.pass_time()
        step = plan_for(world).step
        if step is not None:
            world.carry_out(step)  # asserts that no second cluster is permitted
    assert world.founded == 1


@pytest.mark.parametrize("wiped", [False, True])
def test_a_resource_made_anew_over_old_disks_finds_its_cluster_and_founds_no_other(
    wiped: bool,
) -> None:
    """The status that knew of the cluster went with the resource; fewer replicas are asked for than it has members."""
    world = LostWorld.of(3)
    world.lose_workload(with_pods=True)
    world.founded_uid, world.recorded = 0, {}
    world.has_seed = wiped  # a permission that outlived its resource, too
    if wiped:
        world.disks.pop(0)  # the first pod comes back with an empty disk
        world.claims.pop(0)
    recover(world, Goal(1, "a"))
    assert (world.founded, world.founded_uid, world.has_seed) == (1, 77, False)
    assert len(world.voters()) == 1


def test_blank_disks_of_a_cluster_that_was_never_founded_are_no_hindrance() -> None:
    """The resource was deleted before its pods could start, and made again."""
    world = LostWorld("a")
    goal = Goal(3, "a")
    for _ in range(2):
        world.carry_out(make_plan(goal, world.observe()).step)
    world._create(0)
    world.lose_workload(with_pods=True)
    world.has_seed = False
    kinds = [type(step).__name__ for step in recover(world, goal)]
    assert kinds[:3] == ["SetReplicas", "PermitFounding", "RenewBlankDisk"]
    assert (world.founded, len(world.voters())) == (1, 3)


def test_a_disk_that_nobody_can_look_at_forbids_the_founding() -> None:
    world = LostWorld.of(3)
    world.lose_workload(with_pods=True)
    world.founded_uid, world.recorded = 0, {}
    world.unreachable = {0, 1, 2}
    for _ in range(20):
        world.pass_time()
        step = plan_for(world).step
        if step is not None:
            world.carry_out(step)
    plan = plan_for(world)
    assert plan.step is None
    assert (
        "whose disks data-orders-0, data-orders-1, data-orders-2 are is not known" in plan.waiting
    )


def test_pods_of_members_that_somebody_took_away_by_hand_come_back() -> None:
    world = LostWorld.of(3)
    world.replicas = 0
    world.wait()
    recover(world, Goal(3, "a"))
    assert (world.replicas, len(world.voters())) == (3, 3)


def test_nothing_is_done_with_members_of_another_cluster_than_the_one_that_was_founded() -> None:
    world = LostWorld.of(3)
    world.founded_uid = 5
    world.lose_disk(1)
    world.pass_time()
    plan = plan_for(world, replicas=1, template_hash="b")
    assert plan.step is None
    assert plan.refusal is Refusal.FOREIGN_CLUSTER


# --- asking ---
def test_nothing_begins_without_a_request() -> None:
    assert plan_for(lost(1, 2)).step is None


@pytest.mark.parametrize(
    "change", [lambda r: r + " ", lambda r: r[:-1], lambda _: "yes", str.upper]
)
def test_any_other_request_is_refused_with_what_is_wrong_and_nothing_happens(change) -> None:
    world = lost(1, 2)
    asked = change(request_of(world))
    assert plan_for(world, recovery=asked).step is None
    is_true, reason, message = facts(world, recovery=asked)["Recovery"]
    assert (is_true, reason) == (False, Refusal.RECOVERY_REFUSED)
    assert repr(asked) in message
    assert repr(request_of(world)) in message


def test_a_request_too_early_or_with_a_quorum_is_refused() -> None:
    world = lost(1, 2)
    request = request_of(world)
    world.without_quorum_s = 0.0
    assert plan_for(world, recovery=request).step is None
    assert "nothing is to be recovered yet" in facts(world, recovery=request)["Recovery"][2]
    healthy = LostWorld.of(3)
    assert plan_for(healthy, recovery=request).is_done
    assert "remove the annotation" in facts(healthy, recovery=request)["Recovery"][2]


def test_a_request_that_was_not_removed_fits_no_later_loss() -> None:
    world = lost(1, 2)
    request = request_of(world)
    world.positions[world.disks[0]] = (5, 101)  # a leader was there meanwhile
    assert plan_for(world, recovery=request).step is None


def test_a_paused_cluster_is_not_recovered() -> None:
    world = lost(1, 2)
    assert plan_for(world, recovery=request_of(world), paused=True).step is None


# --- carrying it out ---
def test_the_others_are_fenced_then_the_survivor_is_ordered_then_it_grows_again() -> None:
    world = lost(1, 2)
    survivor = world.disks[0]
    goal = Goal(3, "a", recovery=request_of(world))
    kinds = [type(step).__name__ for step in recover(world, goal)]
    assert kinds == [
        "BeginRecovery", "FenceMember", "FenceMember", "OrderRecovery", "RestartPod", "FinishRecovery",
        "AddMember", "PromoteMember", "AddMember", "PromoteMember",
    ]  # fmt: skip
    assert world.founded_uid == world.cluster_uid != 77
    assert survivor in {member.id for member in world.members}
    assert len(world.voters()) == 3
    assert recover(world, goal) == [], "the annotation that stays asks for nothing more"
    shown = recovery.show(world.observe())
    assert shown is not None
    assert (shown["phase"], shown["request"]) == ("Completed", goal.recovery)
    assert facts(world, recovery=goal.recovery)["Recovery"][:2] == (False, "NotNeeded")


def test_other_survivors_are_fenced_too() -> None:
    world = lost(2, 3, 4, replicas=5)
    goal = Goal(5, "a", recovery=request_of(world))
    recover(world, goal)
    assert len(world.old & set(world.disks.values())) == 0
    assert len(world.voters()) == 5


def test_a_pod_on_a_node_that_does_not_answer_may_still_serve_so_it_is_waited_for() -> None:
    world = LostWorld.of(3)
    world.lose_node(1, 2)
    world.wait()
    goal = Goal(3, "a", recovery=request_of(world))
    for _ in range(50):
        world.pass_time()
        plan = make_plan(goal, world.observe())
        if plan.step is not None:
            world.carry_out(plan.step)
    assert plan.refusal is Refusal.NODE_LOST
    assert "node.kubernetes.io/out-of-service" in plan.waiting
    assert not world.is_ordered
    for ordinal in (1, 2):
        world.node_is_given_up(ordinal)
    recover(world, goal)
    assert world.cluster_uid != 77


def test_a_quorum_that_comes_back_in_time_ends_the_recovery() -> None:
    world = LostWorld.of(3)
    world.lose_node(1, 2)
    world.wait()
    goal = Goal(3, "a", recovery=request_of(world))
    step = make_plan(goal, world.observe()).step
    assert isinstance(step, BeginRecovery)
    world.carry_out(step)
    world.node_is_back(1)
    world.node_is_back(2)
    steps = recover(world, goal)
    assert type(steps[0]).__name__ == "CancelRecovery"
    assert world.cluster_uid == 77
    assert len(world.voters()) == 3


def test_a_survivor_that_is_no_longer_what_was_asked_for_is_not_ordered_again() -> None:
    world = lost(1, 2)
    goal = Goal(3, "a", recovery=request_of(world))
    for _ in range(LOOKS_MAX):
        world.pass_time()
        plan = make_plan(goal, world.observe())
        if plan.step is not None:
            world.carry_out(plan.step)
        if world.is_ordered:
            break
    world.is_mounted_late = True
    world.kill(0)
    world.pass_time()
    world.positions[world.disks[0]] = (9, 9)
    plan = make_plan(goal, world.observe())
    assert type(plan.step).__name__ == "CancelRecovery"


def test_a_survivor_that_started_without_its_order_is_restarted_once_more() -> None:
    world = lost(1, 2)
    world.is_mounted_late = True
    goal = Goal(3, "a", recovery=request_of(world))
    kinds = [type(step).__name__ for step in recover(world, goal)]
    assert kinds.count("RestartPod") == 2
    assert len(world.voters()) == 3


@settings(max_examples=200, deadline=None)
@given(
    gone=st.sampled_from([(0, 1), (0, 2), (1, 2)]),
    silent=st.booleans(),
    looks=st.lists(
        st.sampled_from(["", "", "skip", "half", "stale", "twice", "kill"]), max_size=40
    ),
)
def test_whatever_is_interrupted_stale_or_done_twice_it_ends_with_one_cluster(
    gone: tuple[int, int], silent: bool, looks: list[str]
) -> None:
    world = LostWorld.of(3)
    (world.lose_node if silent else world.destroy)(*gone)
    world.wait()
    [left] = {0, 1, 2} - set(gone)
    survivor, goal = world.disks[left], Goal(3, "a", recovery=request_of(world))
    stale = world.observe()
    for look in looks:
        world.pass_time()
        fresh = world.observe()
        step = make_plan(goal, stale if look == "stale" else fresh).step
        stale = fresh
        if look == "kill":
            world.kill(left)
        if step is None or look == "skip":
            continue
        if look == "half":
            world.do_half(step)
            continue
        world.carry_out(step)
        if look == "twice":  # two operators at once
            world.carry_out(step)
    for ordinal in gone:
        if silent:
            world.node_is_given_up(ordinal)
    recover(world, goal)
    assert survivor in {member.id for member in world.members}
    assert len(world.voters()) == 3
    assert (world.founded, world.record) == (1, None)


# --- the record ---
RECORD = RecoveryRecord(
    "orders-0/5/77/4-100", "orders-0", "pod uid", 1, 5, 77, 4, 100,
    (Victim("orders-1", "u", "data-orders-1", "c"), Victim("orders-2", "", "data-orders-2", "d")),
)  # fmt: skip
WANTED = Wanted(ClusterSpec(), NAMES, Owner("orders", "uid"), "sybline:dev")
NOW = "2026-01-01T00:05:00Z"


class OneConfigMap:
    """An API server with one ConfigMap."""

    def __init__(self, body: dict[str, object] | None) -> None:
        self._body = body

    def get(self, *_: str) -> dict[str, object] | None:
        return self._body


def seen_in(body: dict[str, object] | None, status: dict[str, object]) -> RecoverySeen:
    return look_at_recovery(OneConfigMap(body), NAMES, status, NOW)


def test_a_record_is_read_as_it_was_written_and_its_order_is_told_apart() -> None:
    body = config_map(WANTED, RECORD)
    assert seen_in(body, {}) == RecoverySeen(RECORD)
    ordered = {**body, "data": {**body["data"], **order_patch(RECORD)["data"]}}
    assert seen_in(ordered, {}) == RecoverySeen(RECORD, is_ordered=True)
    assert seen_in(None, {}) == RecoverySeen()


@pytest.mark.parametrize(
    "data", [None, {}, {"record": "{}"}, {"record": "x"}, {"record": "[]"}, {ORDER_KEY: "{}"}]
)
def test_what_is_no_record_stops_everything_and_is_told(data: dict[str, str] | None) -> None:
    seen = seen_in({"data": data}, {})
    assert seen.is_unreadable
    assert seen.record is None
    world = lost(1, 2)
    observed = replace(world.observe(), recovery=replace(seen, without_quorum_s=999.0))
    assert "delete it" in recovery.why_refused("", observed)
    assert recovery.next_step(request_of(world), observed) is None


def test_how_long_there_was_no_quorum_is_read_from_the_condition() -> None:
    condition = {
        "type": "QuorumHealthy", "status": "False", "lastTransitionTime": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    assert seen_in(None, {"conditions": [condition]}).without_quorum_s == 300.0
    assert seen_in(None, {"conditions": [{**condition, "status": "True"}]}).without_quorum_s == 0.0


def test_only_a_completed_request_is_remembered() -> None:
    told = recovery.show_completed("r")
    assert seen_in(None, {"recovery": told}).completed == "r"
    assert seen_in(None, {"recovery": {**told, "phase": "Offered"}}).completed == ""


def test_the_record_of_the_end_is_in_status_before_the_order_goes() -> None:
    world = lost(1, 2)
    goal = Goal(3, "a", recovery=request_of(world))
    for _ in range(LOOKS_MAX):
        world.pass_time()
        step = make_plan(goal, world.observe()).step
        if isinstance(step, FinishRecovery):
            break
        if step is not None:
            world.carry_out(step)
    world.do_half(step)  # killed between the two
    recover(world, goal)
    assert len(world.voters()) == 3

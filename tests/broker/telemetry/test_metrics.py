"""The metrics page: every name of wire contract §11, its labels, its values, its bounds."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from sybline import limits
from sybline.replication.configuration import (
    Configuration,
    MemberInfo,
    static_configuration,
)
from sybline.replication.log import Membership, PeerStatus, ReplicationStatus
from sybline.replication.measures import Counters, Observer, StorageUse
from sybline.replication.pressure import Resource, Shortage
from sybline.replication.resource_watch import ResourceUse
from sybline.state_machine.queue import Counters as QueueCounters
from sybline.state_machine.read import QueueStats
from sybline.telemetry.metrics import Metrics
from tests.support.cluster import parse_metrics
from tests.support.manual_clock import ManualClock

NOW_MS = 1_700_000_000_000

NAMES_OF_THE_CONTRACT = """
grpc_server_started_total grpc_server_handled_total grpc_server_msg_received_total grpc_server_msg_sent_total
grpc_server_handling_seconds grpc_req_panics_recovered_total
http_requests_total http_request_duration_seconds http_requests_in_progress_total
process_resident_memory_bytes process_open_fds process_cpu_seconds_total python_info python_gc_collections_total
sybline_queue_messages sybline_queue_bytes sybline_queue_oldest_message_age_seconds sybline_queue_consumers
sybline_messages_published_total sybline_messages_delivered_total sybline_messages_redelivered_total
sybline_messages_settled_total sybline_messages_returned_total sybline_messages_dead_lettered_total
sybline_messages_removed_total sybline_publish_refused_total
sybline_raft_term sybline_raft_is_leader sybline_raft_commit_index sybline_raft_applied_index
sybline_raft_peer_lag_entries sybline_raft_leader_changes_total sybline_raft_proposals_pending
sybline_log_fsync_seconds sybline_log_bytes sybline_log_live_bytes sybline_checkpoint_seconds
sybline_apply_errors_total sybline_disk_free_bytes
sybline_sessions sybline_consumers sybline_login_failures_total sybline_forwarded_total sybline_build_info
"""


def queue(name: str, **values: object) -> QueueStats:
    fields: dict[str, object] = {
        "name": name, "size": 10, "retry_limit": 3, "max_bytes": 0, "dead_letters": "", "owner": "",
        "keys": ("k",), "ready": 0, "leased": 0, "delayed": 0, "parked": 0, "bytes": 0,
        "consumers": 0, "oldest_ms": None, "counters": QueueCounters(),
    }  # fmt: skip
    return QueueStats(**{**fields, **values})


class Machine:
    """The state as metrics see it."""

    def __init__(self, *queues: QueueStats, sessions: int = 0) -> None:
        self.now_ms = NOW_MS
        self._queues = queues
        self._sessions = sessions

    def queue_stats(self) -> Iterator[QueueStats]:
        return iter(self._queues)

    def session_count(self) -> int:
        return self._sessions


STATUS = ReplicationStatus(
    member=1, role="leader", term=7, leader=1, ready=True, quorum_confirmed=True, commit_index=91,
    applied_index=90, first_index=1, last_index=95, pending_proposals=4,
    peers=(PeerStatus(2, 95, 0, 0.1, connected=True), PeerStatus(3, 80, 15, 2.0, connected=False)),
)  # fmt: skip


class Member:
    """A member as metrics see it."""

    resources = ResourceUse(5_000, 4_500, 3_500, 3_400, frozenset({"memory"}))
    storage = StorageUse(3, 2, 1_500, 9, 700, 250, 1_000)
    log_bytes = 4_000
    log_live_bytes = 3_000

    def __init__(self, machine: Machine, status: ReplicationStatus = STATUS) -> None:
        self.machine = machine
        self.counters = Counters()
        self._status = status

    def status(self) -> ReplicationStatus:
        return self._status

    def membership(self) -> Membership:
        learner = MemberInfo(4, "d", "d:1", voter=False)
        members = (*static_configuration((1, 2, 3)).members, learner)
        configuration = Configuration(5, 1, members)
        return Membership(configuration, True, 1, 7, 1, False, 0.0, ())

    def shortage(self) -> Shortage | None:
        return Shortage(1, Resource.MEMORY)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def metrics(clock: ManualClock) -> Metrics:
    return Metrics(clock=clock)


def page(metrics: Metrics) -> dict[str, float]:
    return parse_metrics(metrics.render().decode())


def test_every_name_of_the_contract_is_on_the_page(metrics: Metrics) -> None:
    metrics.watch(Member(Machine(queue("q"))))
    lines = metrics.render().decode().splitlines()
    names = {line.split()[2] for line in lines if line.startswith("# TYPE ")}
    assert [name for name in NAMES_OF_THE_CONTRACT.split() if name not in names] == []


def test_the_page_is_one_that_prometheus_reads(metrics: Metrics) -> None:
    metrics.watch(Member(Machine(queue('odd "name"\\', ready=3), queue("other"))))
    metrics.grpc_started("Login")
    metrics.grpc_handled("Login", "OK", 0.1)
    seen: set[str] = set()
    for family in text_string_to_metric_families(metrics.render().decode()):
        assert family.name not in seen, "the samples of a name stand together"
        assert family.type != "unknown"
        assert family.documentation
        seen.add(family.name)


def test_a_page_before_there_is_a_member_has_the_process(metrics: Metrics) -> None:
    values = page(metrics)
    assert values["process_resident_memory_bytes"] > 0
    assert "sybline_raft_term" not in values


# --- calls ---
def test_calls_are_counted_by_method_and_code_as_the_earlier_server_did(metrics: Metrics) -> None:
    for code in ("OK", "INVALID_ARGUMENT", "CANCELLED"):
        metrics.grpc_started("SubmitMessage")
        metrics.grpc_handled("SubmitMessage", code, 0.004)
    metrics.grpc_started("SubmitMessage")
    labels = 'grpc_type="unary",grpc_service="MQ.MQEndpoints",grpc_method="SubmitMessage"'
    values = page(metrics)
    assert values[f"grpc_server_started_total{{{labels}}}"] == 4
    assert values[f"grpc_server_msg_received_total{{{labels}}}"] == 4
    assert values[f"grpc_server_msg_sent_total{{{labels}}}"] == 1
    assert values[f'grpc_server_handled_total{{{labels},grpc_code="OK"}}'] == 1
    assert values[f'grpc_server_handled_total{{{labels},grpc_code="InvalidArgument"}}'] == 1
    assert values[f'grpc_server_handled_total{{{labels},grpc_code="Canceled"}}'] == 1
    assert values[f"grpc_server_handling_seconds_count{{{labels}}}"] == 3
    assert values[f'grpc_server_handling_seconds_bucket{{{labels},le="0.0025"}}'] == 0
    assert values[f'grpc_server_handling_seconds_bucket{{{labels},le="0.005"}}'] == 3


def test_all_methods_of_both_services_are_there_from_the_start(metrics: Metrics) -> None:
    started = [name for name in page(metrics) if name.startswith("grpc_server_started_total")]
    assert len(started) == 20 + 9


def test_bugs_and_failed_logins_are_counted(metrics: Metrics) -> None:
    metrics.grpc_panicked()
    metrics.login_failed()
    metrics.login_failed()
    values = page(metrics)
    assert values["grpc_req_panics_recovered_total"] == 1
    assert values["sybline_login_failures_total"] == 2


def test_http_requests_are_counted_by_route(metrics: Metrics, clock: ManualClock) -> None:
    started_s = metrics.http_started("GET")
    assert page(metrics)['http_requests_in_progress_total{service="sybline",method="GET"}'] == 1
    clock.now_s += 0.02
    metrics.http_ended("GET", "/readyz", 503, started_s=started_s)
    values = page(metrics)
    labels = 'service="sybline",status_code="503",method="GET",path="/readyz"'
    assert values[f"http_requests_total{{{labels}}}"] == 1
    assert values[f'http_request_duration_seconds_bucket{{{labels},le="0.01"}}'] == 0
    assert values[f'http_request_duration_seconds_bucket{{{labels},le="0.025"}}'] == 1
    assert values['http_requests_in_progress_total{service="sybline",method="GET"}'] == 0


def test_made_up_http_methods_make_no_series(metrics: Metrics) -> None:
    for number in range(5):
        method = f"BREW{number}"
        metrics.http_ended(method, "/", 405, started_s=metrics.http_started(method))
    in_progress = [name for name in page(metrics) if "in_progress" in name]
    assert in_progress == ['http_requests_in_progress_total{service="sybline",method="other"}']


# --- replication ---
def test_durations_of_replication_are_observed(metrics: Metrics) -> None:
    observer: Observer = metrics
    observer.fsync_seconds(0.0015)
    observer.proposal_seconds(0.003)
    observer.checkpoint_seconds(2)
    values = page(metrics)
    assert values["sybline_log_fsync_seconds_sum"] == 0.0015
    assert values["sybline_raft_proposal_seconds_count"] == 1
    assert values["sybline_checkpoint_seconds_sum"] == 2


def test_the_members_own_view_is_shown(metrics: Metrics) -> None:
    member = Member(Machine(queue("a", consumers=2), queue("b", consumers=1), sessions=9))
    member.counters.leader_changes = 3
    member.counters.apply_errors = 1
    member.counters.forwarded_out = 8
    metrics.watch(member)
    values = page(metrics)
    expected = {
        "sybline_raft_term": 7, "sybline_raft_is_leader": 1, "sybline_raft_commit_index": 91,
        "sybline_raft_applied_index": 90, "sybline_raft_proposals_pending": 4,
        'sybline_raft_peer_lag_entries{peer="2"}': 0, 'sybline_raft_peer_lag_entries{peer="3"}': 15,
        "sybline_raft_leader_changes_total": 3, "sybline_apply_errors_total": 1,
        "sybline_forwarded_total": 8, "sybline_log_bytes": 4000, "sybline_log_live_bytes": 3000,
        "sybline_disk_free_bytes": 5000, "sybline_sessions": 9, "sybline_consumers": 3,
    }  # fmt: skip
    assert {name: values[name] for name in expected} == expected


def test_membership_storage_and_shortages_are_shown(metrics: Metrics) -> None:
    status = replace(
        STATUS, is_voter=True, configuration_version=5,
        peers=(PeerStatus(4, 0, 95, 0.1, connected=True, image_sent_bytes=60, image_bytes=80),),
    )  # fmt: skip
    metrics.watch(Member(Machine(), status))
    values = page(metrics)
    expected = {
        'sybline_members{role="voter"}': 3, 'sybline_members{role="learner"}': 1,
        "sybline_raft_is_voter": 1, "sybline_raft_configuration_version": 5,
        'sybline_raft_peer_install_sent_bytes{peer="4"}': 60,
        'sybline_raft_peer_install_bytes{peer="4"}': 80,
        "sybline_log_segments": 3, "sybline_log_cold_files": 2, "sybline_log_cold_bytes": 1500,
        "sybline_log_rewrites_total": 9, "sybline_checkpoint_bytes": 700,
        "sybline_install_received_bytes": 250, "sybline_install_bytes": 1000,
        "sybline_disk_low_mark_bytes": 4500, "sybline_memory_high_mark_bytes": 3400,
        'sybline_resource_short{resource="memory"}': 1,
        'sybline_resource_short{resource="disk"}': 0,
        'sybline_resource_short{resource="open_files"}': 0, "sybline_publishes_blocked": 1,
    }  # fmt: skip
    assert {name: values[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("role", "confirmed"), [("leader", False), ("follower", True), ("candidate", False)]
)
def test_only_a_leader_that_hears_a_quorum_says_so(
    metrics: Metrics, role: str, confirmed: bool
) -> None:
    status = replace(STATUS, role=role, quorum_confirmed=confirmed)
    metrics.watch(Member(Machine(), status))
    assert page(metrics)["sybline_raft_is_leader"] == 0


# --- queues ---
def test_a_queue_is_shown_in_all_its_states(metrics: Metrics) -> None:
    counters = QueueCounters(
        published=50, delivered=40, redelivered=4, settled=30, returned=5,
        dead_lettered={"delivery_limit": 2}, removed={"purged": 3}, refused={"queue_full": 6},
    )  # fmt: skip
    shown = queue(
        "q", ready=5, leased=4, parked=1, bytes=123, consumers=2,
        oldest_ms=NOW_MS - 61_000, counters=counters,
    )  # fmt: skip
    metrics.watch(Member(Machine(shown)))
    values = page(metrics)
    expected = {
        'sybline_queue_messages{queue="q",state="ready"}': 5,
        'sybline_queue_messages{queue="q",state="leased"}': 4,
        'sybline_queue_messages{queue="q",state="delayed"}': 0,
        'sybline_queue_messages{queue="q",state="parked"}': 1,
        'sybline_queue_bytes{queue="q"}': 123,
        'sybline_queue_oldest_message_age_seconds{queue="q"}': 61,
        'sybline_queue_consumers{queue="q"}': 2,
        'sybline_messages_published_total{queue="q"}': 50,
        'sybline_messages_delivered_total{queue="q"}': 40,
        'sybline_messages_redelivered_total{queue="q"}': 4,
        'sybline_messages_settled_total{queue="q"}': 30,
        'sybline_messages_returned_total{queue="q"}': 5,
        'sybline_messages_dead_lettered_total{queue="q",reason="delivery_limit"}': 2,
        'sybline_messages_removed_total{queue="q",reason="purged"}': 3,
        'sybline_publish_refused_total{queue="q",reason="queue_full"}': 6,
    }
    assert {name: values[name] for name in expected} == expected


def test_messages_age_while_nothing_is_applied(metrics: Metrics, clock: ManualClock) -> None:
    name = 'sybline_queue_oldest_message_age_seconds{queue="q"}'
    metrics.watch(Member(Machine(queue("q", ready=1, oldest_ms=NOW_MS - 1_000))))
    assert page(metrics)[name] == 1
    clock.now_s += 30
    assert page(metrics)[name] == 31


def test_queues_beyond_the_cap_are_added_up(
    metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "QUEUE_METRIC_SERIES_MAX", 2)
    counters = QueueCounters(settled=1, removed={"purged": 2, "expired": 1})
    same = {"ready": 3, "bytes": 7, "consumers": 1, "counters": counters}
    metrics.watch(
        Member(
            Machine(
                queue("a", **same),
                queue("b", **same),
                queue("c", **same, oldest_ms=NOW_MS - 9_000),
                queue("d", **same, oldest_ms=NOW_MS - 4_000),
                queue("e"),
            )
        )
    )
    values = page(metrics)
    bytes_series = {name: value for name, value in values.items() if "queue_bytes" in name}
    assert bytes_series == {
        'sybline_queue_bytes{queue="a"}': 7,
        'sybline_queue_bytes{queue="b"}': 7,
        'sybline_queue_bytes{queue="_other"}': 14,
    }
    assert values['sybline_queue_messages{queue="_other",state="ready"}'] == 6
    assert values['sybline_queue_oldest_message_age_seconds{queue="_other"}'] == 9
    assert values['sybline_messages_settled_total{queue="_other"}'] == 2
    assert values['sybline_messages_removed_total{queue="_other",reason="purged"}'] == 4
    assert values["sybline_consumers"] == 4


def test_a_queue_that_is_named_like_the_rest_belongs_to_it(metrics: Metrics) -> None:
    metrics.watch(Member(Machine(queue("_other", bytes=5), queue("q", bytes=1))))
    lines = metrics.render().decode().splitlines()
    assert [line for line in lines if line.startswith("sybline_queue_bytes")] == [
        'sybline_queue_bytes{queue="q"} 1',
        'sybline_queue_bytes{queue="_other"} 5',
    ]

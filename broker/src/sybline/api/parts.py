"""What the API is put together from. Built once by `app`, given to everything here through constructors."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from sybline import limits
from sybline.api.polls import PollMemory
from sybline.auth.passwords import PasswordHasher
from sybline.auth.throttle import LoginThrottle
from sybline.clock import Clock
from sybline.replication.log import ReplicatedLog
from sybline.state_machine.machine import StateMachine


class CallMetrics(Protocol):
    """What the API counts; `telemetry.metrics.Metrics` is one."""

    def grpc_started(self, method: str) -> None: ...

    def grpc_handled(self, method: str, code_name: str, seconds: float) -> None: ...

    def grpc_panicked(self) -> None: ...

    def login_failed(self) -> None: ...


@dataclass(frozen=True, slots=True)
class MemberFacts:
    """What this member says of itself beyond what replication knows."""

    version: str
    not_ready_because: str  # "": it serves
    log_bytes: int
    log_live_bytes: int
    disk_free_bytes: int
    config_sha256: str = ""  # of the configuration file in force
    settings_pending: tuple[str, ...] = ()  # keys that wait for a restart
    settings_refused_because: str = ""


@dataclass(frozen=True, slots=True)
class ApiParts:
    """Everything the methods need."""

    log: ReplicatedLog
    machine: Callable[
        [], StateMachine
    ]  # the state of now: a checkpoint from the leader replaces it
    cluster_id: str
    hasher: PasswordHasher
    throttle: LoginThrottle
    polls: PollMemory
    clock: Clock
    metrics: CallMetrics
    token_ms: Callable[[], int]  # both may change while the member runs
    lease_ms: Callable[[], int]
    member_facts: Callable[[], MemberFacts]
    election_s: float  # who was not heard for so long is not healthy
    first_admin: tuple[str, str] | None = None  # name and password as the settings have them
    body_bytes_max: int = limits.BODY_BYTES_DEFAULT

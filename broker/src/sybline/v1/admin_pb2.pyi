from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class MemberRole(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MEMBER_ROLE_UNSPECIFIED: _ClassVar[MemberRole]
    MEMBER_ROLE_VOTER: _ClassVar[MemberRole]
    MEMBER_ROLE_LEARNER: _ClassVar[MemberRole]

class RaftRole(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RAFT_ROLE_UNSPECIFIED: _ClassVar[RaftRole]
    RAFT_ROLE_FOLLOWER: _ClassVar[RaftRole]
    RAFT_ROLE_CANDIDATE: _ClassVar[RaftRole]
    RAFT_ROLE_LEADER: _ClassVar[RaftRole]

class StopReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STOP_REASON_UNSPECIFIED: _ClassVar[StopReason]
    STOP_REASON_ALLOWED: _ClassVar[StopReason]
    STOP_REASON_VIEW_UNCONFIRMED: _ClassVar[StopReason]
    STOP_REASON_VIEW_STALE: _ClassVar[StopReason]
    STOP_REASON_VIEW_INCOMPLETE: _ClassVar[StopReason]
    STOP_REASON_UNKNOWN_MEMBER: _ClassVar[StopReason]
    STOP_REASON_CHANGE_PENDING: _ClassVar[StopReason]
    STOP_REASON_ONLY_VOTER: _ClassVar[StopReason]
    STOP_REASON_LEADS: _ClassVar[StopReason]
    STOP_REASON_TOO_FEW_HEALTHY: _ClassVar[StopReason]
MEMBER_ROLE_UNSPECIFIED: MemberRole
MEMBER_ROLE_VOTER: MemberRole
MEMBER_ROLE_LEARNER: MemberRole
RAFT_ROLE_UNSPECIFIED: RaftRole
RAFT_ROLE_FOLLOWER: RaftRole
RAFT_ROLE_CANDIDATE: RaftRole
RAFT_ROLE_LEADER: RaftRole
STOP_REASON_UNSPECIFIED: StopReason
STOP_REASON_ALLOWED: StopReason
STOP_REASON_VIEW_UNCONFIRMED: StopReason
STOP_REASON_VIEW_STALE: StopReason
STOP_REASON_VIEW_INCOMPLETE: StopReason
STOP_REASON_UNKNOWN_MEMBER: StopReason
STOP_REASON_CHANGE_PENDING: StopReason
STOP_REASON_ONLY_VOTER: StopReason
STOP_REASON_LEADS: StopReason
STOP_REASON_TOO_FEW_HEALTHY: StopReason

class Member(_message.Message):
    __slots__ = ("id", "name", "address", "role")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    id: int
    name: str
    address: str
    role: MemberRole
    def __init__(self, id: _Optional[int] = ..., name: _Optional[str] = ..., address: _Optional[str] = ..., role: _Optional[_Union[MemberRole, str]] = ...) -> None: ...

class Configuration(_message.Message):
    __slots__ = ("version", "cluster_uid", "members")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_UID_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    version: int
    cluster_uid: int
    members: _containers.RepeatedCompositeFieldContainer[Member]
    def __init__(self, version: _Optional[int] = ..., cluster_uid: _Optional[int] = ..., members: _Optional[_Iterable[_Union[Member, _Mapping]]] = ...) -> None: ...

class MemberView(_message.Message):
    __slots__ = ("member", "leads", "connected", "match_index", "lag_entries", "heard_age_ms", "healthy", "caught_up")
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    LEADS_FIELD_NUMBER: _ClassVar[int]
    CONNECTED_FIELD_NUMBER: _ClassVar[int]
    MATCH_INDEX_FIELD_NUMBER: _ClassVar[int]
    LAG_ENTRIES_FIELD_NUMBER: _ClassVar[int]
    HEARD_AGE_MS_FIELD_NUMBER: _ClassVar[int]
    HEALTHY_FIELD_NUMBER: _ClassVar[int]
    CAUGHT_UP_FIELD_NUMBER: _ClassVar[int]
    member: Member
    leads: bool
    connected: bool
    match_index: int
    lag_entries: int
    heard_age_ms: int
    healthy: bool
    caught_up: bool
    def __init__(self, member: _Optional[_Union[Member, _Mapping]] = ..., leads: _Optional[bool] = ..., connected: _Optional[bool] = ..., match_index: _Optional[int] = ..., lag_entries: _Optional[int] = ..., heard_age_ms: _Optional[int] = ..., healthy: _Optional[bool] = ..., caught_up: _Optional[bool] = ...) -> None: ...

class Membership(_message.Message):
    __slots__ = ("configuration", "committed", "confirmed", "observer", "leader", "term", "age_ms", "members")
    CONFIGURATION_FIELD_NUMBER: _ClassVar[int]
    COMMITTED_FIELD_NUMBER: _ClassVar[int]
    CONFIRMED_FIELD_NUMBER: _ClassVar[int]
    OBSERVER_FIELD_NUMBER: _ClassVar[int]
    LEADER_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    AGE_MS_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    configuration: Configuration
    committed: bool
    confirmed: bool
    observer: int
    leader: int
    term: int
    age_ms: int
    members: _containers.RepeatedCompositeFieldContainer[MemberView]
    def __init__(self, configuration: _Optional[_Union[Configuration, _Mapping]] = ..., committed: _Optional[bool] = ..., confirmed: _Optional[bool] = ..., observer: _Optional[int] = ..., leader: _Optional[int] = ..., term: _Optional[int] = ..., age_ms: _Optional[int] = ..., members: _Optional[_Iterable[_Union[MemberView, _Mapping]]] = ...) -> None: ...

class ListMembersRequest(_message.Message):
    __slots__ = ("own_view",)
    OWN_VIEW_FIELD_NUMBER: _ClassVar[int]
    own_view: bool
    def __init__(self, own_view: _Optional[bool] = ...) -> None: ...

class ListMembersResponse(_message.Message):
    __slots__ = ("membership",)
    MEMBERSHIP_FIELD_NUMBER: _ClassVar[int]
    membership: Membership
    def __init__(self, membership: _Optional[_Union[Membership, _Mapping]] = ...) -> None: ...

class AddMemberRequest(_message.Message):
    __slots__ = ("address", "name", "expected_version")
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_VERSION_FIELD_NUMBER: _ClassVar[int]
    address: str
    name: str
    expected_version: int
    def __init__(self, address: _Optional[str] = ..., name: _Optional[str] = ..., expected_version: _Optional[int] = ...) -> None: ...

class AddMemberResponse(_message.Message):
    __slots__ = ("configuration", "id")
    CONFIGURATION_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    configuration: Configuration
    id: int
    def __init__(self, configuration: _Optional[_Union[Configuration, _Mapping]] = ..., id: _Optional[int] = ...) -> None: ...

class IdentifyMemberRequest(_message.Message):
    __slots__ = ("address",)
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    address: str
    def __init__(self, address: _Optional[str] = ...) -> None: ...

class IdentifyMemberResponse(_message.Message):
    __slots__ = ("id", "name", "cluster_uid")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_UID_FIELD_NUMBER: _ClassVar[int]
    id: int
    name: str
    cluster_uid: int
    def __init__(self, id: _Optional[int] = ..., name: _Optional[str] = ..., cluster_uid: _Optional[int] = ...) -> None: ...

class PromoteMemberRequest(_message.Message):
    __slots__ = ("id", "expected_version")
    ID_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_VERSION_FIELD_NUMBER: _ClassVar[int]
    id: int
    expected_version: int
    def __init__(self, id: _Optional[int] = ..., expected_version: _Optional[int] = ...) -> None: ...

class PromoteMemberResponse(_message.Message):
    __slots__ = ("configuration",)
    CONFIGURATION_FIELD_NUMBER: _ClassVar[int]
    configuration: Configuration
    def __init__(self, configuration: _Optional[_Union[Configuration, _Mapping]] = ...) -> None: ...

class RemoveMemberRequest(_message.Message):
    __slots__ = ("id", "expected_version", "force")
    ID_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_VERSION_FIELD_NUMBER: _ClassVar[int]
    FORCE_FIELD_NUMBER: _ClassVar[int]
    id: int
    expected_version: int
    force: bool
    def __init__(self, id: _Optional[int] = ..., expected_version: _Optional[int] = ..., force: _Optional[bool] = ...) -> None: ...

class RemoveMemberResponse(_message.Message):
    __slots__ = ("configuration",)
    CONFIGURATION_FIELD_NUMBER: _ClassVar[int]
    configuration: Configuration
    def __init__(self, configuration: _Optional[_Union[Configuration, _Mapping]] = ...) -> None: ...

class UpdateMemberRequest(_message.Message):
    __slots__ = ("id", "address", "expected_version")
    ID_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_VERSION_FIELD_NUMBER: _ClassVar[int]
    id: int
    address: str
    expected_version: int
    def __init__(self, id: _Optional[int] = ..., address: _Optional[str] = ..., expected_version: _Optional[int] = ...) -> None: ...

class UpdateMemberResponse(_message.Message):
    __slots__ = ("configuration",)
    CONFIGURATION_FIELD_NUMBER: _ClassVar[int]
    configuration: Configuration
    def __init__(self, configuration: _Optional[_Union[Configuration, _Mapping]] = ...) -> None: ...

class TransferLeadershipRequest(_message.Message):
    __slots__ = ("target",)
    TARGET_FIELD_NUMBER: _ClassVar[int]
    target: int
    def __init__(self, target: _Optional[int] = ...) -> None: ...

class TransferLeadershipResponse(_message.Message):
    __slots__ = ("leader",)
    LEADER_FIELD_NUMBER: _ClassVar[int]
    leader: int
    def __init__(self, leader: _Optional[int] = ...) -> None: ...

class MemberStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class MemberStatusResponse(_message.Message):
    __slots__ = ("member", "cluster_id", "cluster_uid", "configuration_version", "removed", "ready", "not_ready_because", "version", "raft_role", "term", "leader", "first_index", "last_index", "commit_index", "applied_index", "log_bytes", "log_live_bytes", "disk_free_bytes", "publishes_refused_because", "config_sha256", "settings_pending", "settings_refused_because", "last_log_term", "configured")
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_ID_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_UID_FIELD_NUMBER: _ClassVar[int]
    CONFIGURATION_VERSION_FIELD_NUMBER: _ClassVar[int]
    REMOVED_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    NOT_READY_BECAUSE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    RAFT_ROLE_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    LEADER_FIELD_NUMBER: _ClassVar[int]
    FIRST_INDEX_FIELD_NUMBER: _ClassVar[int]
    LAST_INDEX_FIELD_NUMBER: _ClassVar[int]
    COMMIT_INDEX_FIELD_NUMBER: _ClassVar[int]
    APPLIED_INDEX_FIELD_NUMBER: _ClassVar[int]
    LOG_BYTES_FIELD_NUMBER: _ClassVar[int]
    LOG_LIVE_BYTES_FIELD_NUMBER: _ClassVar[int]
    DISK_FREE_BYTES_FIELD_NUMBER: _ClassVar[int]
    PUBLISHES_REFUSED_BECAUSE_FIELD_NUMBER: _ClassVar[int]
    CONFIG_SHA256_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_PENDING_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_REFUSED_BECAUSE_FIELD_NUMBER: _ClassVar[int]
    LAST_LOG_TERM_FIELD_NUMBER: _ClassVar[int]
    CONFIGURED_FIELD_NUMBER: _ClassVar[int]
    member: Member
    cluster_id: str
    cluster_uid: int
    configuration_version: int
    removed: bool
    ready: bool
    not_ready_because: str
    version: str
    raft_role: RaftRole
    term: int
    leader: int
    first_index: int
    last_index: int
    commit_index: int
    applied_index: int
    log_bytes: int
    log_live_bytes: int
    disk_free_bytes: int
    publishes_refused_because: str
    config_sha256: str
    settings_pending: _containers.RepeatedScalarFieldContainer[str]
    settings_refused_because: str
    last_log_term: int
    configured: _containers.RepeatedCompositeFieldContainer[Member]
    def __init__(self, member: _Optional[_Union[Member, _Mapping]] = ..., cluster_id: _Optional[str] = ..., cluster_uid: _Optional[int] = ..., configuration_version: _Optional[int] = ..., removed: _Optional[bool] = ..., ready: _Optional[bool] = ..., not_ready_because: _Optional[str] = ..., version: _Optional[str] = ..., raft_role: _Optional[_Union[RaftRole, str]] = ..., term: _Optional[int] = ..., leader: _Optional[int] = ..., first_index: _Optional[int] = ..., last_index: _Optional[int] = ..., commit_index: _Optional[int] = ..., applied_index: _Optional[int] = ..., log_bytes: _Optional[int] = ..., log_live_bytes: _Optional[int] = ..., disk_free_bytes: _Optional[int] = ..., publishes_refused_because: _Optional[str] = ..., config_sha256: _Optional[str] = ..., settings_pending: _Optional[_Iterable[str]] = ..., settings_refused_because: _Optional[str] = ..., last_log_term: _Optional[int] = ..., configured: _Optional[_Iterable[_Union[Member, _Mapping]]] = ...) -> None: ...

class MayStopRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: int
    def __init__(self, id: _Optional[int] = ...) -> None: ...

class MayStopResponse(_message.Message):
    __slots__ = ("allowed", "reason", "text", "evidence")
    ALLOWED_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    allowed: bool
    reason: StopReason
    text: str
    evidence: StopEvidence
    def __init__(self, allowed: _Optional[bool] = ..., reason: _Optional[_Union[StopReason, str]] = ..., text: _Optional[str] = ..., evidence: _Optional[_Union[StopEvidence, _Mapping]] = ...) -> None: ...

class StopEvidence(_message.Message):
    __slots__ = ("voters", "quorum", "fit_without_it", "hand_over_to", "heard_age_ms_max", "lag_entries_max", "membership")
    VOTERS_FIELD_NUMBER: _ClassVar[int]
    QUORUM_FIELD_NUMBER: _ClassVar[int]
    FIT_WITHOUT_IT_FIELD_NUMBER: _ClassVar[int]
    HAND_OVER_TO_FIELD_NUMBER: _ClassVar[int]
    HEARD_AGE_MS_MAX_FIELD_NUMBER: _ClassVar[int]
    LAG_ENTRIES_MAX_FIELD_NUMBER: _ClassVar[int]
    MEMBERSHIP_FIELD_NUMBER: _ClassVar[int]
    voters: int
    quorum: int
    fit_without_it: _containers.RepeatedScalarFieldContainer[int]
    hand_over_to: int
    heard_age_ms_max: int
    lag_entries_max: int
    membership: Membership
    def __init__(self, voters: _Optional[int] = ..., quorum: _Optional[int] = ..., fit_without_it: _Optional[_Iterable[int]] = ..., hand_over_to: _Optional[int] = ..., heard_age_ms_max: _Optional[int] = ..., lag_entries_max: _Optional[int] = ..., membership: _Optional[_Union[Membership, _Mapping]] = ...) -> None: ...

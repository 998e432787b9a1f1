"""Talking to members: who belongs to the cluster, may it be stopped, and the changes of membership.

Owns sessions and connections. Every call has a deadline; what cannot be found out is an error, never a guess.
"""

import base64
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, TypeVar

import grpc

from sybline.v1 import admin_pb2, admin_pb2_grpc, mq_pb2, mq_pb2_grpc
from sybline_operator import limits
from sybline_operator.observation import (
    ConfiguredSeen,
    IdentitySeen,
    MemberSeen,
    MembershipSeen,
    MemberStatusSeen,
    StopVerdict,
)

_Answer = TypeVar("_Answer")
Metadata: TypeAlias = tuple[tuple[str, str], ...]


class AdminError(Exception):
    """A call was refused or not answered."""

    def __init__(self, call: str, error: grpc.RpcError) -> None:
        self.code: grpc.StatusCode = error.code()
        super().__init__(f"{call}: {self.code.name}: {error.details()}")


class BrokerAdmin(Protocol):
    """What the operator asks of a cluster."""

    def membership(self) -> MembershipSeen | None:
        """Return the leader's confirmed view; None: no leader answers."""

    def identify(self, address: str) -> IdentitySeen | None:
        """Return whose disk is behind a peer address; None: nobody answers there."""

    def member_status(self, pod_address: str) -> MemberStatusSeen | None:
        """Return what the member at "host:port", where clients reach it, says of itself; None: no answer."""

    def may_stop(self, member: int) -> StopVerdict: ...

    def add(self, address: str, name: str, expected_version: int) -> None: ...

    def promote(self, member: int, expected_version: int) -> None: ...

    def remove(self, member: int, expected_version: int) -> None: ...

    def hand_over(self, target: int) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Credentials:
    """The first administrator of the cluster."""

    username: str
    password: str = field(repr=False)

    def metadata(self) -> Metadata:
        """Return what a call shows in place of a session."""
        pair = base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
        return (("authorization", f"Basic {pair}"),)


@dataclass(frozen=True, slots=True)
class ChannelTls:
    """What a connection to a member over TLS needs; all PEM. The pair is shown only to a member that asks for one."""

    host: str  # the name that every member's certificate has; addresses of pods are not in it
    authorities: bytes
    certificate: bytes = field(repr=False)
    key: bytes = field(repr=False)

    def open(self, target: str) -> grpc.Channel:
        """Return a channel to "host:port"."""
        credentials = grpc.ssl_channel_credentials(self.authorities, self.key, self.certificate)
        return grpc.secure_channel(
            target, credentials, options=[("grpc.ssl_target_name_override", self.host)]
        )


class GrpcAdmin:
    """BrokerAdmin over sybline.v1: the first member that answers serves, for any member serves every call."""

    def __init__(
        self, targets: Sequence[str], credentials: Credentials, tls: ChannelTls | None = None
    ) -> None:
        """`targets`: "host:port" of members, those that serve first; without `tls`, in plain text."""
        self._targets = targets
        self._credentials = credentials
        self._tls = tls
        self._channel: grpc.Channel | None = None
        self._metadata: Metadata = ()

    def close(self) -> None:
        """End the session, of which an account may have only so many, and close the connection."""
        if self._channel is not None:
            with contextlib.suppress(AdminError):  # it ends by itself in time
                self._log_out(self._channel)
            self._channel.close()
            self._channel = None

    # --- reads ---
    def membership(self) -> MembershipSeen | None:
        """Return the leader's confirmed view; None: no leader answers."""
        try:
            answer = self._call("ListMembers", admin_pb2.ListMembersRequest())
        except AdminError:
            return None
        seen = answer.membership
        return _membership(seen) if seen.confirmed else None

    def identify(self, address: str) -> IdentitySeen | None:
        """Return whose disk is behind a peer address; None: nobody answers there."""
        try:
            answer = self._call("IdentifyMember", admin_pb2.IdentifyMemberRequest(address=address))
        except AdminError:
            return None
        return IdentitySeen(answer.id, answer.name, answer.cluster_uid)

    def member_status(self, pod_address: str) -> MemberStatusSeen | None:
        """Return what the member at "host:port", where clients reach it, says of itself; None: no answer.

        A session is good at every member. Without one, when no leader lets anybody log in, the member takes what its
        own settings have as the first administrator.
        """
        try:
            with self._open(pod_address) as channel:
                answer = self._call(
                    "MemberStatus",
                    admin_pb2.MemberStatusRequest(),
                    channel=channel,
                    metadata=self._metadata or self._credentials.metadata(),
                    timeout_s=limits.STATUS_TIMEOUT_S,
                )
        except AdminError:
            return None
        return _member_status(answer)

    def may_stop(self, member: int) -> StopVerdict:
        """Return the verdict on stopping a member; a refused call is a no."""
        try:
            answer = self._call("MayStop", admin_pb2.MayStopRequest(id=member))
        except AdminError as error:
            return StopVerdict(allowed=False, reason="NO_ANSWER", text=str(error))
        reason = admin_pb2.StopReason.Name(answer.reason).removeprefix("STOP_REASON_")
        return StopVerdict(answer.allowed, reason, answer.text)

    # --- changes ---
    def add(self, address: str, name: str, expected_version: int) -> None:
        """Add the member at an address as a learner; raises AdminError."""
        self._call(
            "AddMember",
            admin_pb2.AddMemberRequest(
                address=address, name=name, expected_version=expected_version
            ),
        )

    def promote(self, member: int, expected_version: int) -> None:
        """Make a learner a voter; raises AdminError."""
        self._call(
            "PromoteMember",
            admin_pb2.PromoteMemberRequest(id=member, expected_version=expected_version),
        )

    def remove(self, member: int, expected_version: int) -> None:
        """Take a member out, never by force; raises AdminError."""
        self._call(
            "RemoveMember",
            admin_pb2.RemoveMemberRequest(id=member, expected_version=expected_version),
        )

    def hand_over(self, target: int) -> None:
        """Let a voter lead; raises AdminError."""
        self._call(
            "TransferLeadership",
            admin_pb2.TransferLeadershipRequest(target=target),
            timeout_s=limits.TRANSFER_TIMEOUT_S,
        )

    # --- calls ---
    def _call(
        self,
        method: str,
        request: Any,
        *,
        channel: grpc.Channel | None = None,
        metadata: Metadata = (),
        timeout_s: float = limits.ADMIN_TIMEOUT_S,
    ) -> Any:
        """Call a method at the member connected to, or over another channel."""
        asked = channel or self._connected()
        stub = admin_pb2_grpc.AdminStub(asked)  # type: ignore[no-untyped-call]  # generated
        call: Callable[..., Any] = getattr(stub, method)
        shown = metadata or self._metadata
        return _answer(method, lambda: call(request, timeout=timeout_s, metadata=shown))

    def _connected(self) -> grpc.Channel:
        if self._channel is None:
            self._channel = self._connect()
        return self._channel

    def _connect(self) -> grpc.Channel:
        """Log in at the first member that lets us.

        Raises:
            AdminError: none does.
        """
        last: AdminError | None = None
        for target in self._targets:
            channel = self._open(target)
            try:
                self._log_in(channel)
            except AdminError as error:
                channel.close()
                last = error
            else:
                return channel
        if last is None:
            raise AdminError("connect", _NoTarget())
        raise last

    def _open(self, target: str) -> grpc.Channel:
        return grpc.insecure_channel(target) if self._tls is None else self._tls.open(target)

    def _log_in(self, channel: grpc.Channel) -> None:
        stub = mq_pb2_grpc.MQEndpointsStub(channel)  # type: ignore[no-untyped-call]  # generated
        credentials = self._credentials
        token: list[tuple[str, str]] = []

        def call() -> Any:
            request = mq_pb2.Credentials(
                username=credentials.username, password=credentials.password
            )
            answer, under_way = stub.Login.with_call(request, timeout=limits.LOGIN_TIMEOUT_S)
            token.extend(under_way.initial_metadata())
            return answer

        _answer("Login", call)
        shown = dict(token).get("syb-token")
        if shown is None:
            raise AdminError("Login", _NoToken())
        self._metadata = (("username", credentials.username), ("syb-token", shown))

    def _log_out(self, channel: grpc.Channel) -> None:
        stub = mq_pb2_grpc.MQEndpointsStub(channel)  # type: ignore[no-untyped-call]  # generated
        request = mq_pb2.LogOutRequest()
        _answer(
            "LogOut",
            lambda: stub.LogOut(request, timeout=limits.STATUS_TIMEOUT_S, metadata=self._metadata),
        )


class _NoToken(grpc.RpcError):
    """Who let us log in gave no token: no member does that."""

    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.INTERNAL

    def details(self) -> str:
        return "the answer has no token"


class _NoTarget(grpc.RpcError):
    """There is no pod to talk to."""

    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.UNAVAILABLE

    def details(self) -> str:
        return "no pod has an address"


def _answer(method: str, call: Callable[[], _Answer]) -> _Answer:
    try:
        return call()
    except grpc.RpcError as error:
        raise AdminError(method, error) from error


def _membership(seen: Any) -> MembershipSeen:
    return MembershipSeen(
        version=seen.configuration.version,
        cluster_uid=seen.configuration.cluster_uid,
        committed=seen.committed,
        term=seen.term,
        members=tuple(
            MemberSeen(
                id=view.member.id,
                name=view.member.name,
                address=view.member.address,
                voter=view.member.role == admin_pb2.MEMBER_ROLE_VOTER,
                leads=view.leads,
                connected=view.connected or view.leads,
                healthy=view.healthy,
                caught_up=view.caught_up,
                lag_entries=view.lag_entries if view.HasField("lag_entries") else None,
            )
            for view in seen.members
        ),
    )


def _member_status(seen: Any) -> MemberStatusSeen:
    return MemberStatusSeen(
        id=seen.member.id,
        cluster_uid=seen.cluster_uid,
        configuration_version=seen.configuration_version,
        removed=seen.removed,
        ready=seen.ready,
        not_ready_because=seen.not_ready_because,
        version=seen.version,
        term=seen.term,
        last_index=seen.last_index,
        commit_index=seen.commit_index,
        publishes_refused_because=seen.publishes_refused_because,
        config_sha256=seen.config_sha256,
        settings_pending=tuple(seen.settings_pending),
        settings_refused_because=seen.settings_refused_because,
        last_log_term=seen.last_log_term,
        configured=tuple(
            ConfiguredSeen(each.id, each.name, each.role == admin_pb2.MEMBER_ROLE_VOTER)
            for each in seen.configured
        ),
    )

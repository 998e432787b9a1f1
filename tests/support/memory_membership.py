"""The membership of a cluster without a cluster: what a member says of it, and changes that are made at once.

Part of `MemoryLog`. A test says who leads, who answers, and what a call raises.
"""

import math
from collections.abc import Callable

from sybline.errors import NoLeader, SyblineError, Unreachable
from sybline.replication.configuration import (
    Change,
    ChangeReason,
    ChangeRefused,
    Configuration,
    MemberInfo,
    changed,
)
from sybline.replication.log import MemberIdentity, Membership, MemberView

OWN = 1
JOINER = 1 << 20
LAST_INDEX = 1_000_000


class MemoryMembership:
    """Three voters, of whom the first is this member and leads."""

    def __init__(self) -> None:
        self.configuration = Configuration(
            4, 77, tuple(MemberInfo(n, f"m{n}", f"host-{n}:1111", voter=True) for n in (1, 2, 3))
        )
        self.changes: list[tuple[Change, bool]] = []  # with `force`
        self.transfers: list[int | None] = []
        # What a test may change:
        self.leading: int | None = OWN
        self.is_committed = True
        self.is_removed = False
        self.lags: dict[int, int] = {}
        self.heard_ages_s: dict[int, float] = {}
        self.can_transfer = True
        self.on_view: Callable[[], object] = lambda: None  # before each view of the leader
        self.listeners: dict[str, MemberIdentity] = {
            "host-9:1111": MemberIdentity(JOINER, "nine", 0)
        }
        self.change_error: SyblineError | None = None  # instead of every change
        self.refuse_next: list[SyblineError] = []  # instead of the next changes, one each
        self.lost_change: SyblineError | None = None  # instead of the next answer, once it is made

    def membership(self) -> Membership:
        """Return the view of this member."""
        return Membership(
            configuration=self.configuration,
            committed=self.is_committed,
            leader=self.leading,
            term=5,
            member=OWN,
            removed=self.is_removed,
            view_age_s=0.0 if self.leading == OWN else 0.2,
            members=tuple(map(self._view, self.configuration.members)),
        )

    async def ask_leader_membership(self, *, deadline_s: float) -> Membership:
        """Return the view of the leader, whoever it is."""
        self.on_view()
        if self.leading is None:
            raise NoLeader("nobody leads")
        view = self.membership()
        return Membership(
            view.configuration, view.committed, view.leader, view.term, self.leading, view.removed,
            0.0, view.members,
        )  # fmt: skip

    async def change_members(
        self, change: Change, *, expected_version: int, force: bool = False, deadline_s: float
    ) -> Configuration:
        """Make a change, by the rules of configurations alone."""
        self.changes.append((change, force))
        if self.change_error is not None:
            raise self.change_error
        if self.refuse_next:
            raise self.refuse_next.pop(0)
        if expected_version != self.configuration.version:
            text = f"the configuration is at version {self.configuration.version}"
            raise ChangeRefused(ChangeReason.VERSION, text)
        self.configuration = changed(self.configuration, change)
        if self.lost_change is not None:
            lost, self.lost_change = self.lost_change, None
            raise lost
        return self.configuration

    async def identify(self, address: str, *, deadline_s: float) -> MemberIdentity:
        """Return who listens at an address."""
        found = self.listeners.get(address)
        if found is None:
            raise Unreachable("connection refused")
        return found

    async def transfer_leadership(self, *, deadline_s: float, target: int | None = None) -> bool:
        """Let the target lead, or the first other voter; False: nobody can."""
        self.transfers.append(target)
        others = [n for n in self.configuration.ids if n != self.leading]
        if self.can_transfer and others:
            self.leading = target or others[0]
        return self.can_transfer and bool(others)

    def _view(self, info: MemberInfo) -> MemberView:
        lag = self.lags.get(info.id, 0)
        age_s = 0.0 if info.id == self.leading else self.heard_ages_s.get(info.id, 0.1)
        return MemberView(info, LAST_INDEX - lag, lag, age_s, connected=math.isfinite(age_s))

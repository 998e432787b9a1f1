"""How the material that members serve with is replaced while they serve: one step at a time, pure.

Four rules keep any two members, and any client that follows the published CAs, able to verify each other throughout:
a CA is trusted by every member before a certificate of it is used; clients get time to follow; every certificate that
may still be served keeps its CA; a CA goes when every member has been seen to serve without it. So each step may be
repeated, interrupted, and followed by a change of mind of the source.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from sybline_operator.steps import Act
from sybline_operator.tls.material import Ca, Mark, Material

AUTHORITIES_MAX: Final = 16  # trusted at once; members report no more


@dataclass(frozen=True, slots=True)
class Composed:
    """What every pod mounts."""

    material: Material
    trusted_since_s: float  # when a CA was added last


@dataclass(frozen=True, slots=True)
class MemberTls:
    """What a member was seen to serve and to trust."""

    shown: frozenset[Mark] = frozenset()  # to clients and to other members
    trusted: frozenset[Mark] = frozenset()  # for both
    trouble: str = ""  # why it could not be found out


@dataclass(frozen=True, slots=True)
class Replacement:
    """The next step, or what is waited for; neither: every member serves what the source gives."""

    act: Act | None = None
    composed: Composed | None = None  # to be written, with `act`
    waiting: str = ""
    behind: Mapping[str, str] = field(default_factory=dict)  # member -> why it is waited for

    @property
    def is_done(self) -> bool:
        return self.act is None and not self.waiting


def plan_replacement(
    source: Material,
    composed: Composed | None,
    members: Mapping[str, MemberTls],
    *,
    now_s: float,
    clients_follow_s: float,
) -> Replacement:
    """Return the next step towards what the source gives. `members`: all that may serve now or soon."""
    if composed is None:
        return Replacement(Act.ISSUE, Composed(source, now_s))
    current = composed.material
    missing = source.authorities - current.authorities
    if current.leaf == source.leaf:
        if missing:
            return _extend(composed, missing, now_s)
        return _finish(source, composed, members)
    if not _serves(
        current, now_s
    ):  # nobody accepts it any more, so there is nothing to be careful about
        both = source.trusting(source.authorities | current.authorities)
        return Replacement(Act.REPLACE, Composed(both, now_s))
    if missing:
        return _extend(composed, missing, now_s)
    replaced = Replacement(
        Act.REPLACE, Composed(source.trusting(current.authorities), composed.trusted_since_s)
    )
    if source.anchors & current.anchors:
        return replaced  # whoever accepts the current certificate accepts this one
    return _spread(source, composed, members, now_s - clients_follow_s) or replaced


def _serves(material: Material, now_s: float) -> bool:
    """Return whether a member would still accept it."""
    return now_s < material.leaf.not_after_s and any(
        now_s < ca.mark.not_after_s for ca in material.anchors
    )


def _extend(composed: Composed, missing: frozenset[Ca], now_s: float) -> Replacement:
    current = composed.material
    trusted = current.authorities | missing
    if len(trusted) > AUTHORITIES_MAX:
        return Replacement(
            waiting=f"until an earlier replacement ends: {len(trusted)} CAs would be trusted at once, "
            f"{AUTHORITIES_MAX} may be"
        )
    return Replacement(Act.EXTEND, Composed(current.trusting(trusted), now_s))


def _spread(
    source: Material, composed: Composed, members: Mapping[str, MemberTls], early_s: float
) -> Replacement | None:
    """Return who must learn of the new CA first; None: everybody has."""
    wanted = frozenset(ca.mark for ca in source.anchors)
    behind = _behind(members, lambda seen: wanted <= seen.trusted, "does not trust the new CA yet")
    if behind:
        return _wait("every member trusts the new CA", behind)
    if composed.trusted_since_s > early_s:
        return Replacement(waiting="until clients had time to trust the new CA")
    return None


def _finish(source: Material, composed: Composed, members: Mapping[str, MemberTls]) -> Replacement:
    """Wait until all serve the certificate, drop what it does not need, wait until all have dropped it."""
    shown = frozenset((source.leaf,))
    behind = _behind(members, lambda seen: seen.shown == shown, "shows another certificate")
    if behind:
        return _wait("every member serves the certificate", behind)
    if composed.material.authorities != source.authorities:
        return Replacement(Act.REDUCE, Composed(source, composed.trusted_since_s))
    wanted = frozenset(ca.mark for ca in source.authorities)
    behind = _behind(members, lambda seen: seen.trusted == wanted, "trusts others, too")
    return _wait("every member trusts these CAs alone", behind) if behind else Replacement()


def _behind(
    members: Mapping[str, MemberTls], is_there: Callable[[MemberTls], bool], otherwise: str
) -> dict[str, str]:
    return {
        name: seen.trouble or otherwise
        for name, seen in sorted(members.items())
        if seen.trouble or not is_there(seen)
    }


def _wait(until: str, behind: Mapping[str, str]) -> Replacement:
    named = ", ".join(f"{name} ({why})" for name, why in behind.items())
    return Replacement(waiting=f"until {until}: {named}", behind=behind)

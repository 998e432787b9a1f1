"""A model of members whose certificates are replaced: the Secret with its versions, kubelets that lag behind, members
that load what is mounted, clients that follow the published CAs late, and operators that decide on what they saw a
while ago. Material is real, so that who accepts whom is decided by signatures.
"""

import base64
from dataclasses import dataclass, field
from functools import cache

from sybline_operator.tls.material import Ca, Material, read_material
from sybline_operator.tls.replacement import Composed, MemberTls, Replacement, plan_replacement
from tests.support.certificates import DAY_S, Authority

CLIENTS_FOLLOW_S = 100.0


@cache
def authority(number: int) -> Authority:
    """Return one of a few CAs; the same number is the same CA."""
    return Authority()


@cache
def material(
    ca: int, leaf: int = 0, others: tuple[int, ...] = (), ends_s: float = DAY_S
) -> Material:
    """Return a certificate of a CA; `others`: CAs that the source names beside it."""
    pair = authority(ca).issue(ends_s=ends_s)
    bundle = b"".join(authority(number).pem for number in dict.fromkeys((ca, *others)))
    found = {"tls.crt": pair.certificate, "tls.key": pair.key, "ca.crt": bundle}
    return read_material({key: base64.b64encode(value).decode() for key, value in found.items()})


@dataclass
class Member:
    """A pod; `loaded` is None while its program does not run."""

    mounted: Material
    loaded: Material | None = None
    answers: bool = True

    def seen(self) -> MemberTls:
        if self.loaded is None or not self.answers:
            return MemberTls(trouble="does not answer")
        trusted = frozenset(ca.mark for ca in self.loaded.authorities)
        return MemberTls(frozenset((self.loaded.leaf,)), trusted)


@dataclass(frozen=True)
class Look:
    """What an operator read when its look began."""

    version: int
    source: Material
    composed: Composed | None
    members: dict[str, MemberTls]


@dataclass
class TlsWorld:
    """See the module."""

    source: Material
    now_s: float = 0.0
    composed: Composed | None = None
    version: int = 0
    published: list[tuple[float, frozenset[Ca]]] = field(default_factory=list)  # since when, what
    members: dict[str, Member] = field(default_factory=dict)

    # --- the operator ---
    def look(self) -> Look:
        seen = {name: member.seen() for name, member in self.members.items()}
        return Look(self.version, self.source, self.composed, seen)

    def decide(self, look: Look) -> Replacement:
        return plan_replacement(
            look.source, look.composed, look.members, now_s=self.now_s,
            clients_follow_s=CLIENTS_FOLLOW_S,
        )  # fmt: skip

    def act(self, look: Look) -> Replacement:
        """Decide on what was read and write it, unless the Secret is another one by now."""
        plan = self.decide(look)
        if plan.composed is not None and look.version == self.version:
            self.published.append((self.now_s, plan.composed.material.authorities))
            self.composed = plan.composed
            self.version += 1
        self.check()
        return plan

    # --- what happens meanwhile ---
    def start(self, name: str) -> None:
        """Let a pod start, or start again: it mounts what is there now."""
        if self.composed is not None:
            current = self.composed.material
            answers = self.members[name].answers if name in self.members else True
            self.members[name] = Member(current, current, answers)
        self.check()

    def mount(self, name: str) -> None:
        """Let the kubelet bring a pod's files up to date."""
        if name in self.members and self.composed is not None:
            self.members[name].mounted = self.composed.material

    def load(self, name: str) -> None:
        """Let a member take what is mounted."""
        member = self.members.get(name)
        if member is not None and member.loaded is not None:
            member.loaded = member.mounted
        self.check()

    def heal(self) -> None:
        """Let everything run, answer, and be up to date."""
        for name, member in self.members.items():
            member.answers = True
            if member.loaded is None:
                self.start(name)
            self.mount(name)
            self.load(name)

    # --- what must always hold ---
    def check(self) -> None:
        """Any two members accept each other, and so does every client that follows in time."""
        serving = {n: m.loaded for n, m in self.members.items() if m.loaded is not None}
        for name, shown in serving.items():
            for other, theirs in serving.items():
                assert accepts(theirs.authorities, shown), f"{other} refuses {name}"
            for trusted in self.in_clients_hands():
                assert accepts(trusted, shown), f"a client refuses {name}"

    def in_clients_hands(self) -> list[frozenset[Ca]]:
        """Return what clients may trust by now: what is published, and what was a while ago."""
        ends = [since for since, _ in self.published[1:]] + [float("inf")]
        return [
            trusted
            for (_, trusted), end in zip(self.published, ends, strict=True)
            if end > self.now_s - CLIENTS_FOLLOW_S
        ]


@cache
def accepts(trusted: frozenset[Ca], shown: Material) -> bool:
    """Return whether a certificate comes from one of these CAs."""
    return bool(shown.trusting(trusted).anchors)

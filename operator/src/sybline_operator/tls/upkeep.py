"""One look at a cluster's certificates: what the source gives, what is in force, what members serve, the next step.

At most one step of a replacement a look, beside the steps of the cluster and never in their way: what fails here is a
condition, not the end of the look. Progress stands in the Secrets and in the members, nowhere else.
"""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from sybline.tls.files import BadMaterial
from sybline_operator import limits
from sybline_operator.broker_admin import ChannelTls
from sybline_operator.crash_points import reach
from sybline_operator.json_object import Json
from sybline_operator.kubernetes_api import ApiError, KubernetesApi
from sybline_operator.manifests import certificates
from sybline_operator.manifests.common import Wanted, is_ours, metadata
from sybline_operator.observation import Observed
from sybline_operator.quiet import apply_if_changed, delete_ours, is_refusal
from sybline_operator.reasons import Refusal
from sybline_operator.status import Fact
from sybline_operator.steps import Act
from sybline_operator.telling import Teller
from sybline_operator.tls.material import read_material
from sybline_operator.tls.members import Probe, probing_context
from sybline_operator.tls.replacement import (
    Composed,
    MemberTls,
    Replacement,
    plan_replacement,
)
from sybline_operator.tls.sources import Given, Source, SourceRefused, put

CONDITION: Final = "TLSReady"

_ABSENT: Final = 404  # cert-manager's definitions are not there


@dataclass(frozen=True, slots=True)
class Report:
    """What a look at the certificates comes to."""

    fact: Fact
    status: Json | None  # None: no TLS
    secrets: Mapping[str, str] = field(default_factory=dict)
    serials: Mapping[str, str] = field(default_factory=dict)  # by member
    is_quiet: bool = True  # nothing is waited for

    def tell(self, status: Json, facts: list[Fact]) -> None:
        """Add it to a status."""
        facts.append(self.fact)
        status["tls"] = self.status
        status["secrets"] = {**status["secrets"], **self.secrets}
        for row in status["members"]:
            row["certificateSerial"] = self.serials.get(row["name"], "")


@dataclass(frozen=True, slots=True)
class _Refused:
    reason: Refusal
    text: str


class Upkeep:
    """See the module. `prepare` comes before the members are asked anything, `finish` when they were seen."""

    def __init__(
        self, api: KubernetesApi, wanted: Wanted, tell: Teller, *, now: datetime, before: Json,
        may_write: bool,
    ) -> None:  # fmt: skip
        """`before`: the stored status.tls."""
        self._api = api
        self._wanted = wanted
        self._tell = tell
        self._now = now
        self._before = before
        self._may_write = may_write
        self._found: Json | None = None  # the Secret that pods mount
        self._composed: Composed | None = None
        self._given: Given | _Refused = _Refused(Refusal.CERTIFICATE_MISSING, "not looked at yet")

    def prepare(self) -> None:
        """Read what is in force and what the source gives."""
        if not self._wanted.spec.tls.enabled:
            return
        names = self._wanted.names
        self._found = self._api.get("v1", "Secret", names.namespace, names.tls_secret)
        if self._found is not None and not self._is_ours(self._found):
            text = f"the Secret {names.tls_secret} is there already and belongs to somebody else"
            self._given = _Refused(Refusal.CERTIFICATE_REFUSED, text)
            return
        self._composed = _read_composed(self._found)
        in_force = self._composed.material if self._composed is not None else None
        source = Source(self._api, self._wanted, self._tell, now=self._now)
        try:
            self._drop_order()
            self._given = source.give(in_force, may_write=self._may_write)
        except SourceRefused as error:
            self._given = _Refused(error.reason, str(error))
        except ApiError as error:
            if error.status != _ABSENT and not is_refusal(error):
                raise
            self._given = _Refused(Refusal.CERTIFICATE_REFUSED, str(error))

    def _is_ours(self, found: Json) -> bool:
        return is_ours(found, {"metadata": metadata(self._wanted, self._wanted.names.tls_secret)})

    @property
    def may_dial(self) -> bool:
        """Return whether members can be asked anything: never in plain text where TLS is wanted."""
        return not self._wanted.spec.tls.enabled or self._composed is not None

    @property
    def channel(self) -> ChannelTls | None:
        """Return what the operator's own connections need; None: plain text."""
        if self._composed is None:
            return None
        material = self._composed.material
        return ChannelTls(
            self._wanted.names.client_host, material.bundle, material.certificate, material.key
        )

    def finish(self, seen: Observed) -> Report:
        """Take the next step, once it is known what members serve, and tell what there is to tell."""
        if not self._wanted.spec.tls.enabled:
            return Report(Fact(CONDITION, False, "Disabled", "members speak plain text"), None)
        members = self._look_at_members(seen)
        replacement, trouble = self._advance(members)
        is_quiet = replacement is None or replacement.is_done or _waits_for_dead(replacement, seen)
        return self._report(replacement, members, trouble, is_quiet=is_quiet)

    # --- members ---
    def _look_at_members(self, seen: Observed) -> dict[str, MemberTls]:
        """Return what all serve and trust that may talk to others now or soon: pods on a node, and members."""
        if self._composed is None:
            return {}
        addresses = {pod.name: pod.ip if pod.running else "" for pod in seen.pods if pod.node}
        for member in seen.membership.members if seen.membership is not None else ():
            addresses.setdefault(member.name, "")
        in_force = self._composed.material
        trusted = in_force.authorities
        if isinstance(self._given, Given) and self._given.material.leaf == in_force.leaf:
            trusted = self._given.material.authorities  # what is left in the end must be enough
        try:
            context = probing_context(trusted, in_force)
        except ssl.SSLError as error:
            return {name: MemberTls(trouble=f"cannot be asked: {error}") for name in addresses}
        return Probe(context, self._wanted.names.client_host).look(addresses)

    # --- the replacement ---
    def _advance(self, members: Mapping[str, MemberTls]) -> tuple[Replacement | None, str]:
        """Return the plan, and why its step was not taken; "": it was, or there was none."""
        if not isinstance(self._given, Given):
            return None, ""
        plan = plan_replacement(
            self._given.material, self._composed, members, now_s=self._now.timestamp(),
            clients_follow_s=limits.TLS_CLIENTS_FOLLOW_S,
        )  # fmt: skip
        if not self._may_write:
            return plan, ""
        try:
            if plan.act is not None and plan.composed is not None:
                self._write(plan.act, plan.composed)
            elif self._composed is not None:
                self._publish(self._composed)
        except ApiError as error:
            # 409: somebody else was faster, so there is something else to decide upon.
            return plan, "" if error.status == 409 else str(error)
        return plan, ""

    def _write(self, act: Act, composed: Composed) -> None:
        """Give clients the CAs, then members: clients of members that go ahead could not follow.

        Raises:
            ApiError: refused, or the Secret is not what it was when this was decided.
        """
        self._publish(composed)
        since = datetime.fromtimestamp(composed.trusted_since_s, UTC)
        body = certificates.tls_secret(
            self._wanted,
            composed.material.to_data(),
            trusted_since=since.isoformat(timespec="seconds"),
        )
        reach(f"before-{act}")
        put(self._api, body, self._found)
        reach(f"after-{act}")
        self._composed = composed
        self._tell.did(act, _tell(act, composed))

    def _publish(self, composed: Composed) -> None:
        apply_if_changed(self._api, certificates.client_ca(self._wanted, composed.material.bundle))

    def _drop_order(self) -> None:
        """Take back what cert-manager was asked for, once another source is named."""
        names = self._wanted.names
        if self._wanted.spec.tls.mode != "CertManager" and self._may_write:
            delete_ours(
                self._api, self._wanted, certificates.CERTIFICATE_API, certificates.CERTIFICATE_KIND,
                certificates.certificate_name(names),
            )  # fmt: skip

    # --- telling ---
    def _report(
        self, plan: Replacement | None, members: Mapping[str, MemberTls], trouble: str, *,
        is_quiet: bool,
    ) -> Report:  # fmt: skip
        names = self._wanted.names
        status: Json = {
            "mode": self._wanted.spec.tls.mode,
            "phase": self._phase(plan, trouble),
            "rotateCA": self._before.get("rotateCA", ""),
        }
        if isinstance(self._given, Given) and plan is not None and plan.is_done:
            status["rotateCA"] = self._given.request
        material = self._composed.material if self._composed is not None else None
        anchors = material.anchors if material is not None else ()
        status |= {
            "serial": material.leaf.serial if material is not None else None,
            "notAfter": material.leaf.not_after if material is not None else None,
            "caNotAfter": max((ca.mark.not_after for ca in anchors), default=None),
        }
        shown = {name: sorted(mark.serial for mark in seen.shown) for name, seen in members.items()}
        return Report(
            fact=self._fact(plan, trouble),
            status=status,
            secrets={"tls": names.tls_secret, "clientCAConfigMap": names.client_ca_config_map},
            serials={name: ", ".join(serials) for name, serials in shown.items()},
            is_quiet=is_quiet,
        )

    def _phase(self, plan: Replacement | None, trouble: str) -> str:
        if trouble:
            return f"Tries again: {trouble}"
        if plan is None:
            return "Waits for a certificate" if self._composed is None else "Serving"
        return f"Waits {plan.waiting}" if plan.waiting else (plan.act or "Serving")

    def _fact(self, plan: Replacement | None, trouble: str) -> Fact:
        if trouble:
            return Fact(CONDITION, False, Refusal.CERTIFICATE_REFUSED, trouble)
        if isinstance(self._given, _Refused):
            return Fact(CONDITION, False, self._given.reason, self._given.text)
        if self._composed is None:
            text = "no certificate is in force yet"
            return Fact(CONDITION, False, Refusal.CERTIFICATE_MISSING, text)
        leaf = self._composed.material.leaf
        if self._now.timestamp() >= leaf.not_after_s:
            text = f"the certificate in force ended at {leaf.not_after}"
            return Fact(CONDITION, False, Refusal.CERTIFICATE_EXPIRED, text)
        if plan is None or plan.is_done or self._composed.material.is_same(self._given.material):
            return Fact(CONDITION, True, "Serving", plan.waiting if plan is not None else "")
        return Fact(CONDITION, True, "Replacing", plan.waiting)


def _waits_for_dead(plan: Replacement, seen: Observed) -> bool:
    """Return whether only pods that do not run are waited for: news of theirs wake a look."""
    running = {pod.name for pod in seen.pods if pod.running}
    return plan.act is None and bool(plan.behind) and not running & plan.behind.keys()


def _read_composed(found: Json | None) -> Composed | None:
    """Return what pods mount; None: nothing that they could use, so it is composed anew."""
    if found is None:
        return None
    since = found["metadata"].get("annotations", {}).get(certificates.SINCE_ANNOTATION, "")
    try:
        trusted_since_s = datetime.fromisoformat(since).timestamp()
    except ValueError:
        trusted_since_s = 0.0  # somebody took it away; "now" at each look would never end
    try:
        return Composed(read_material(found.get("data", {})), trusted_since_s)
    except BadMaterial:
        return None


def _tell(act: Act, composed: Composed) -> str:
    material = composed.material
    certificate = f"the certificate {material.leaf.serial}, until {material.leaf.not_after}"
    trusted = ", ".join(sorted(ca.mark.serial for ca in material.authorities))
    match act:
        case Act.EXTEND:
            return f"Members and clients are to trust the CAs {trusted}"
        case Act.REDUCE:
            return f"Every member serves {certificate}; only the CAs {trusted} are trusted any more"
        case _:
            return f"Members are given {certificate}"

"""Where a cluster's certificate comes from: the operator's own CA, cert-manager, or a Secret of the user.

A source gives material that members could use, or says why it has none. What it gives is in force only when
`replacement` has put it there.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sybline.tls.files import BadMaterial
from sybline.tls.signing import Authority
from sybline_operator.crash_points import reach
from sybline_operator.json_object import Json
from sybline_operator.kubernetes_api import ApiError, KubernetesApi
from sybline_operator.manifests import certificates
from sybline_operator.manifests.common import Wanted, is_ours, metadata
from sybline_operator.quiet import apply_if_changed
from sybline_operator.reasons import Refusal
from sybline_operator.steps import Act
from sybline_operator.telling import Teller
from sybline_operator.tls import self_signed
from sybline_operator.tls.checking import check_usable
from sybline_operator.tls.material import Material, mark_of, read_material
from sybline_operator.tls.self_signed import Due, Terms


class SourceRefused(Exception):
    """There is nothing that members could use; what they have stays in force."""

    def __init__(self, reason: Refusal, text: str) -> None:
        super().__init__(text)
        self.reason = reason


CERT_MANAGER_ANNOTATION: Final = "cert-manager.io/certificate-name"  # at what cert-manager made


@dataclass(frozen=True, slots=True)
class Given:
    """What a source gives."""

    material: Material
    request: str = ""  # the spec.tls.rotateCA that its CA was made for


class Source:
    """The source that the spec names. Reads, and unless it may not, makes or orders what is missing."""

    def __init__(self, api: KubernetesApi, wanted: Wanted, tell: Teller, *, now: datetime) -> None:
        self._api = api
        self._wanted = wanted
        self._tell = tell
        self._now = now

    def give(self, in_force: Material | None, *, may_write: bool) -> Given:
        """Return what members are to serve with; `in_force`: what they are given now.

        Raises:
            SourceRefused: there is nothing usable.
            ApiError: the API server refuses.
        """
        tls, names = self._wanted.spec.tls, self._wanted.names
        match tls.mode:
            case "CertManager":
                if may_write:
                    apply_if_changed(self._api, certificates.certificate(self._wanted))
                return Given(self._usable(names.issued_secret, self._order_state()))
            case "Secret":
                return Given(self._usable(tls.secret_name, "make it, or name another one"))
            case _:
                return self._sign(in_force, may_write=may_write)

    # --- Secrets that others fill ---
    def _usable(self, name: str, if_missing: str) -> Material:
        found = self._secret(name)
        if found is None:
            text = f"the Secret {name} does not exist: {if_missing}"
            raise SourceRefused(Refusal.CERTIFICATE_MISSING, text)
        try:
            material = read_material(found.get("data", {}))
            check_usable(
                material, identity=self._wanted.names.peer_identity,
                hosts=certificates.needed_names(self._wanted), now_s=self._now.timestamp(),
            )  # fmt: skip
        except BadMaterial as error:
            text = f"the Secret {name} is not used: {error}"
            raise SourceRefused(Refusal.CERTIFICATE_UNUSABLE, text) from error
        return material

    def _order_state(self) -> str:
        """Return what cert-manager says of the order."""
        names = self._wanted.names
        found = self._api.get(
            certificates.CERTIFICATE_API, certificates.CERTIFICATE_KIND,
            names.namespace, certificates.certificate_name(names),
        )  # fmt: skip
        if found is None:
            return "its Certificate does not exist"
        conditions = found.get("status", {}).get("conditions", [])
        said = [c.get("message", "") for c in conditions if c.get("status") == "False"]
        return "; ".join(filter(None, said)) or "its issuer has not answered yet"

    def _secret(self, name: str) -> Json | None:
        return self._api.get("v1", "Secret", self._wanted.names.namespace, name)

    # --- our own CA ---
    def _sign(self, in_force: Material | None, *, may_write: bool) -> Given:
        names, terms, now = self._wanted.names, self._terms(), self._now
        ca_found, issued_found = self._secret(names.ca_secret), self._secret(names.issued_secret)
        authority, request = self._authority(ca_found)
        issued = _issued(issued_found)
        if may_write:
            asked = self._wanted.spec.tls.rotate_ca
            due = Due(authority=True, leaf=True)
            if authority is not None:
                due = self_signed.what_is_due(
                    authority, issued, terms, now, is_asked=bool(asked) and asked != request,
                    may_rotate=issued is not None and issued.is_same(in_force),
                )  # fmt: skip
            if authority is None or due.authority:
                authority, request = self._new_authority(terms, ca_found, asked), asked
            if due.leaf:
                issued = self._new_leaf(authority, terms, issued_found)
        if issued is None:
            raise SourceRefused(Refusal.CERTIFICATE_MISSING, "no certificate has been made yet")
        return Given(issued, request)

    def _authority(self, found: Json | None) -> tuple[Authority | None, str]:
        if found is None:
            return None, ""
        annotations = found["metadata"].get("annotations", {})
        try:
            authority = self_signed.read_authority(found.get("data", {}))
        except BadMaterial as error:
            name = self._wanted.names.ca_secret
            text = f"the Secret {name} is not used: {error}; without it a new CA is made"
            raise SourceRefused(Refusal.CERTIFICATE_UNUSABLE, text) from error
        return authority, annotations.get(certificates.REQUEST_ANNOTATION, "")

    def _new_authority(self, terms: Terms, found: Json | None, request: str) -> Authority:
        """Put a new CA in place of the one that was found: from its first certificate on it is being rotated in."""
        if found is not None:
            self._check_ours(found, self._wanted.names.ca_secret)
        made = self_signed.make_authority(terms, self._now)
        data = self_signed.authority_data(made)
        reach(f"before-{Act.MAKE_CA}")
        put(self._api, certificates.ca_secret(self._wanted, data, request=request), found)
        reach(f"after-{Act.MAKE_CA}")
        mark = mark_of(made.certificate)
        self._tell.did(Act.MAKE_CA, f"Made the CA {mark.serial}, until {mark.not_after}")
        return made

    def _new_leaf(self, authority: Authority, terms: Terms, found: Json | None) -> Material:
        if found is not None and CERT_MANAGER_ANNOTATION not in found["metadata"].get(
            "annotations", {}
        ):
            self._check_ours(found, self._wanted.names.issued_secret)
        made = self_signed.make_material(authority, terms, self._now)
        put(self._api, certificates.issued_secret(self._wanted, made.to_data()), found)
        return made

    def _check_ours(self, found: Json, name: str) -> None:
        """Refuse to overwrite what somebody else made: a key that is written over is gone."""
        if not is_ours(found, {"metadata": metadata(self._wanted, name)}):
            text = f"the Secret {name} was made by somebody else and is not overwritten: replace or remove it"
            raise SourceRefused(Refusal.CERTIFICATE_REFUSED, text)

    def _terms(self) -> Terms:
        tls, names = self._wanted.spec.tls, self._wanted.names
        return Terms(
            subject="Sybline member", hosts=certificates.host_names(self._wanted),
            identity=names.peer_identity, duration=tls.duration, renew_before=tls.renew_before,
            ca_duration=tls.ca_duration,
        )  # fmt: skip


def put(api: KubernetesApi, body: Json, found: Json | None) -> None:
    """Write an object only if it is still as it was found: what was decided on an older one may be wrong by now.

    Raises:
        ApiError: with status 409 if it is not.
    """
    if found is not None:
        version = found["metadata"]["resourceVersion"]
        api.apply({**body, "metadata": {**body["metadata"], "resourceVersion": version}})
    elif not api.create(body):
        raise ApiError(f"create {body['metadata']['name']}", 409, "it was made meanwhile")


def _issued(found: Json | None) -> Material | None:
    """Return what was issued; None: nothing that could be used, so it is issued anew."""
    try:
        return None if found is None else read_material(found.get("data", {}))
    except BadMaterial:
        return None

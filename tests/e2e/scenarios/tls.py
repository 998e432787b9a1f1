"""Certificates are issued, renewed and replaced, from each source, while clients go on: no pod is restarted for it.

Beside the load, whose connections stand, newcomers connect all the while. They trust what the ConfigMap said a while
ago, as a client does that mounts it.
"""

import base64
import secrets
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from tests.e2e.kube import Json, wait_for
from tests.e2e.life import SETTLED_S, Life, Scenario, condition_of
from tests.support.certificates import Authority, Pair

REPLACED_S: Final = (
    600.0  # a CA: three times until a kubelet brings a Secret, and the time that clients get
)
LAG_S: Final = 20.0  # of newcomers behind the ConfigMap
CONNECT_S: Final = 5.0
USER_SECRET: Final = "brought-along"
SHORT: Final = {"duration": "360s", "renewBefore": "300s"}
LONG: Final = {"duration": "2160h", "renewBefore": "720h"}


class Newcomers:
    """Clients that connect anew, to every address in turn."""

    def __init__(self, life: Life) -> None:
        self._life = life
        self._addresses = life.addresses()
        self._known = [(time.monotonic(), _published(life))]
        self.connected = 0

    def connect(self) -> str:
        """Connect once and return the serial number that was shown.

        Raises:
            AssertionError: the certificate is not accepted.
        """
        now_s = time.monotonic()
        self._known.append((now_s, _published(self._life)))
        old = [each for each in self._known if each[0] <= now_s - LAG_S]
        self._known = [*old[-1:], *self._known[len(old) :]]
        host, _, port = self._addresses[self.connected % len(self._addresses)].rpartition(":")
        context = ssl.create_default_context(cadata=self._known[0][1])
        context.set_alpn_protocols(["h2"])
        with socket.create_connection((host, int(port)), CONNECT_S) as plain:
            try:
                with context.wrap_socket(plain, server_hostname=_host(self._life)) as connection:
                    shown = connection.getpeercert()
            except ssl.SSLCertVerificationError as error:
                raise AssertionError(f"a client that follows is turned away: {error}") from error
        self.connected += 1
        assert shown is not None
        return str(shown["serialNumber"])


@contextmanager
def without_restart(life: Life) -> Iterator[Newcomers]:
    """Check that the pods stay the same, and none of their containers began anew."""
    before = _incarnations(life)
    newcomers = Newcomers(life)
    yield newcomers
    assert newcomers.connected
    assert _incarnations(life) == before, "a pod was restarted"


def _incarnations(life: Life) -> dict[str, tuple[str, int]]:
    return {
        name: (pod["metadata"]["uid"], pod["status"]["containerStatuses"][0]["restartCount"])
        for name, pod in life.pods().items()
    }


def _published(life: Life) -> str:
    found: str = life.kube.get("configmap", f"{life.name}-ca")["data"]["ca.crt"]
    return found


def _host(life: Life) -> str:
    return f"{life.name}.{life.kube.namespace}.svc"


def is_served(status: Json) -> bool:
    """Return whether all members serve the certificate in force, and nothing is left to replace."""
    tls = status.get("tls", {})
    return (
        tls.get("phase") == "Serving"
        and condition_of(status, "TLSReady") == "True"
        and all(row.get("certificateSerial") == tls["serial"] for row in status["members"])
    )


def _wait(life: Life, newcomers: Newcomers, what: str, condition: Callable[[Json], bool]) -> Json:
    """Wait while newcomers connect, and return the status then."""
    last: Json = {}

    def is_there() -> bool:
        newcomers.connect()
        last.clear()
        last.update(life.status())
        return condition(last)

    wait_for(lambda: f"{what}; it says: {last.get('tls')}", is_there, deadline_s=REPLACED_S)
    return last


def _wait_until_served(life: Life, newcomers: Newcomers, but_not: set[str]) -> Json:
    """Wait until all serve another certificate than these, and return status.tls."""
    status = _wait(
        life, newcomers, f"all serve another certificate than {', '.join(but_not)}",
        lambda status: is_served(status) and status["tls"]["serial"] not in but_not,
    )  # fmt: skip
    tls: Json = status["tls"]
    assert newcomers.connect() == tls["serial"]
    return tls


# --- the operator's own CA ---
def renew(life: Life) -> None:
    """Make certificates short-lived: they are renewed before they end, more than once, by the same CA."""
    with without_restart(life) as newcomers:
        ca = _published(life)
        seen = {life.status()["tls"]["serial"]}
        for change in (SHORT, {}, LONG):
            if change:
                life.patch({"tls": change})
            seen.add(_wait_until_served(life, newcomers, seen)["serial"])
        assert _published(life) == ca
    life.settle(3)


def rotate(life: Life) -> None:
    """Ask for another CA: both are trusted for a while, then the new one alone."""
    with without_restart(life) as newcomers:
        before, old = life.status()["tls"], _published(life)
        request = secrets.token_hex(4)
        life.patch({"tls": {"rotateCA": request}})
        _wait(life, newcomers, "clients are given both CAs", lambda _: _authorities(life) == 2)
        after = _wait_until_served(life, newcomers, {before["serial"]})
        assert after["rotateCA"] == request
        assert _authorities(life) == 1
        assert _published(life) != old
    life.settle(3)


def _authorities(life: Life) -> int:
    return _published(life).count("BEGIN CERTIFICATE")


# --- a Secret of the user ---
def bring_along(life: Life) -> None:
    """Serve with a Secret of the user; a broken one is refused by name while the good one stays; then go back."""
    authority = Authority()
    good = _issue(life, authority)
    _put(life, authority, good)
    with without_restart(life) as newcomers:
        own = life.status()["tls"]["serial"]
        life.patch({"tls": {"mode": "Secret", "secretName": USER_SECRET}})
        served = _wait_until_served(life, newcomers, {own})
        assert served["serial"] == good.serial
        assert _published(life).strip() == authority.pem.decode().strip()
        _put(life, authority, Pair(_issue(life, authority).certificate, good.key))
        status = _wait(
            life, newcomers, "the broken Secret is refused",
            lambda status: condition_of(status, "TLSReady") == "False",
        )  # fmt: skip
        said = next(c for c in status["conditions"] if c["type"] == "TLSReady")
        assert said["reason"] == "CertificateUnusable", said
        assert "does not belong to the certificate" in said["message"], said
        assert newcomers.connect() == good.serial
        mended = _issue(life, authority)
        _put(life, authority, mended)
        assert _wait_until_served(life, newcomers, {good.serial})["serial"] == mended.serial
        life.patch({"tls": {"mode": "SelfSigned", "secretName": None}})
        _wait_until_served(life, newcomers, {mended.serial})
    life.settle(3)


def _issue(life: Life, authority: Authority) -> Pair:
    """Return a certificate with the names that docs/operations/certificates.md asks for."""
    namespace = life.kube.namespace
    hosts = (_host(life), f"*.{life.name}-peers.{namespace}.svc")
    return authority.issue(hosts=hosts, identity=f"sybline://{namespace}.{life.name}/peer")


def _put(life: Life, authority: Authority, pair: Pair) -> None:
    values = {"tls.crt": pair.certificate, "tls.key": pair.key, "ca.crt": authority.pem}
    life.kube.apply(
        {
            "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
            "metadata": {"name": USER_SECRET},
            "data": {key: base64.b64encode(value).decode() for key, value in values.items()},
        }
    )  # fmt: skip


# --- together with a restart ---
def restart_within(life: Life) -> None:
    """Lose a member's pod in the middle of a rotation: it comes back with what is in force, and the rotation ends."""
    before = life.status()["tls"]["serial"]
    newcomers = Newcomers(life)
    life.patch({"tls": {"rotateCA": secrets.token_hex(4)}})
    _wait(life, newcomers, "clients are given both CAs", lambda _: _authorities(life) == 2)
    name = life.member("voter")["name"]
    uid = life.uids()[name]
    life.kube.kubectl("delete", "pod", name, "--grace-period=0", "--force")
    wait_for(
        f"{name} is another pod",
        lambda: life.uids().get(name) not in (None, uid),
        deadline_s=SETTLED_S,
    )
    _wait(
        life,
        newcomers,
        "the rotation ends",
        lambda s: is_served(s) and s["tls"]["serial"] != before,
    )
    assert _authorities(life) == 1
    life.settle(3)


SCENARIOS = (
    Scenario("certificates renewed", renew, unnoticed=True),
    Scenario("CA rotated", rotate, unnoticed=True),
    Scenario("a pod lost while the CA is rotated", restart_within),
    Scenario("certificates of a user's Secret", bring_along, unnoticed=True),
)

"""Files that change under a running member: taken when they are good, refused with one clear line when not (REG-K8)."""

import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from sybline import limits
from sybline.clock import SystemClock
from sybline.tls import store as store_module
from sybline.tls.files import Pem, TlsFiles
from sybline.tls.material import Usage
from sybline.tls.store import TlsStore
from tests.support.certificates import (
    DAY_S,
    IDENTITY,
    Authority,
    Pair,
    SecretVolume,
    files_in,
    material,
    write_material,
)

PEERS = Usage("peers", ssl.TLSVersion.TLSv1_3, ssl.CERT_REQUIRED, IDENTITY)


def loaded(files: TlsFiles) -> TlsStore:
    store = TlsStore(files, PEERS, SystemClock())
    store.load()
    return store


def check(store: TlsStore) -> list[EventDict]:
    """Look at the files and return what was logged."""
    with capture_logs() as lines:
        store.check()
    return lines


@pytest.fixture
def ca() -> Authority:
    return Authority()


def rename_into(directory: Path, pair: Pair, *trusted: Authority) -> None:
    for name, content in material(pair, *trusted).items():
        (directory / f"{name}.new").write_bytes(content)
        (directory / f"{name}.new").replace(directory / name)


@pytest.mark.parametrize("replace", [write_material, rename_into])
def test_reg_k8_changed_files_are_taken_without_a_restart(
    tmp_path: Path, ca: Authority, replace: Callable[..., object]
) -> None:
    first, second = ca.issue(), ca.issue()
    store = loaded(write_material(tmp_path, first, ca))
    old = store.material
    assert check(store) == []
    replace(tmp_path, second, ca)
    (line,) = check(store)
    assert (line["event"], line["serial"]) == ("tls_material_replaced", second.serial)
    assert store.material.certificate.serial == second.serial
    assert store.material.listening is not old.listening
    assert (store.replaced, store.refused) == (1, 0)
    assert check(store) == []


def test_reg_k8_a_secret_that_kubernetes_updates_is_taken(tmp_path: Path, ca: Authority) -> None:
    volume = SecretVolume(tmp_path / "tls", ca.issue(), ca)
    store = loaded(files_in(volume.directory))
    for _ in range(3):
        pair = ca.issue()
        volume.update(pair, ca)
        store.check()
        assert store.material.certificate.serial == pair.serial
    assert (store.replaced, store.refused) == (3, 0)


BAD: dict[str, Callable[[Path, Authority], object]] = {
    "expired": lambda d, ca: write_material(d, ca.issue(starts_s=-DAY_S, ends_s=-60.0), ca),
    "of another CA": lambda d, ca: write_material(d, Authority().issue(), ca),
    "of a client": lambda d, ca: write_material(d, ca.issue(identity=""), ca),
    "half of a pair": lambda d, ca: (d / "cert.pem").write_bytes(ca.issue().certificate),
    "cut off": lambda d, _: (d / "key.pem").write_bytes(b"-----BEGIN PRIVATE KEY-----\nMI"),
    "empty": lambda d, _: (d / "ca-cert.pem").write_bytes(b""),
    "gone": lambda d, _: (d / "cert.pem").unlink(),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_broken_new_pair_is_refused_once_with_its_reason_and_the_old_one_stays(
    tmp_path: Path, ca: Authority, kind: str
) -> None:
    first = ca.issue()
    store = loaded(write_material(tmp_path, first, ca))
    old = store.material
    BAD[kind](tmp_path, ca)
    (line,) = check(store)
    assert (line["event"], line["log_level"]) == ("tls_material_refused", "error")
    assert (line["usage"], line["kept_serial"]) == ("peers", first.serial)
    assert str(tmp_path) in line["reason"]
    assert store.material is old
    assert check(store) == []  # said once
    assert (store.replaced, store.refused) == (0, 1)
    mended = ca.issue()
    write_material(tmp_path, mended, ca)
    store.check()
    assert store.material.certificate.serial == mended.serial


def test_files_that_are_being_replaced_are_not_complained_of(
    tmp_path: Path, ca: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The certificate is new and the key still old when the member looks; a moment later both are new."""
    pair = ca.issue()
    files = write_material(tmp_path, ca.issue(), ca)
    store = loaded(files)
    files.certificate.write_bytes(pair.certificate)
    read = store_module.read_files

    def read_then_write(which: TlsFiles) -> Pem:
        pem = read(which)
        files.key.write_bytes(pair.key)
        return pem

    monkeypatch.setattr(store_module, "read_files", read_then_write)
    assert check(store) == []
    monkeypatch.setattr(store_module, "read_files", read)
    assert [line["event"] for line in check(store)] == ["tls_material_replaced"]
    assert store.refused == 0


def test_two_cas_are_trusted_during_a_rotation_and_then_the_old_one_is_not(tmp_path: Path) -> None:
    old, new = Authority(), Authority()
    volume = SecretVolume(tmp_path / "tls", old.issue(), old)
    store = loaded(files_in(volume.directory))
    for pair, trusted in [
        (old.issue(), (old, new)),
        (new.issue(), (old, new)),
        (new.issue(), (new,)),
    ]:
        volume.update(pair, *trusted)
        store.check()
        assert store.material.certificate.serial == pair.serial
        assert len(store.material.trusted) == len(trusted)
    assert store.refused == 0


def test_a_ca_must_not_be_dropped_before_its_certificate(tmp_path: Path) -> None:
    old, new = Authority(), Authority()
    store = loaded(write_material(tmp_path, old.issue(), old, new))
    (tmp_path / "ca-cert.pem").write_bytes(new.pem)
    (line,) = check(store)
    assert "unable to get local issuer certificate" in line["reason"]
    assert len(store.material.trusted) == 2


def test_a_certificate_that_ends_soon_is_a_warning_a_day(tmp_path: Path, ca: Authority) -> None:
    clock = _Clock()
    used_up = ca.issue(starts_s=-9 * DAY_S, ends_s=DAY_S)
    store = TlsStore(write_material(tmp_path, used_up, ca), PEERS, clock)
    store.load()
    (line,) = check(store)
    assert (line["event"], line["log_level"]) == ("tls_certificate_expires", "warning")
    assert DAY_S - 60 < line["left_s"] <= DAY_S
    assert check(store) == []
    clock.passed_s += limits.TLS_EXPIRY_WARNING_INTERVAL_S
    assert [line["event"] for line in check(store)] == ["tls_certificate_expires"]
    write_material(tmp_path, ca.issue(ends_s=DAY_S), ca)
    assert [line["event"] for line in check(store)] == ["tls_material_replaced"]
    assert check(store) == []


class _Clock(SystemClock):
    """The real date, and a monotonic clock that the test moves."""

    def __init__(self) -> None:
        self.passed_s = 0.0

    def monotonic_s(self) -> float:
        return self.passed_s

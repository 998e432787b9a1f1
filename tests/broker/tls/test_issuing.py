"""`sybline tls init`: certificates that members take, keys that stay, and renewal in time."""

import os
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from sybline.cli.main import main
from sybline.clock import SystemClock
from sybline.tls.files import BadMaterial
from sybline.tls.issuing import IssuePlan, Issuer
from sybline.tls.material import Usage
from sybline.tls.store import TlsStore
from tests.support.certificates import files_in

IDENTITY = "sybline://orders/peer"
DAY_MS = 86_400_000


class ShiftedClock(SystemClock):
    """The real date, some days later."""

    def __init__(self, days: int) -> None:
        self._days = days

    def wall_ms(self) -> int:
        return super().wall_ms() + self._days * DAY_MS


def plan(directory: Path, *, hosts: tuple[str, ...] = ("127.0.0.1",), days: int = 365) -> IssuePlan:
    return IssuePlan(directory, members=2, hosts=hosts, identity=IDENTITY, days=days)


def issue(wanted: IssuePlan, *, days_later: int = 0, force: bool = False) -> set[str]:
    """Issue and return the names of the files that were written, without the CA's copies."""
    issuer = Issuer(ShiftedClock(days_later), force=force)
    issuer.issue(wanted)
    return {str(path.relative_to(wanted.directory)) for path in issuer.written}


def load(directory: Path) -> TlsStore:
    usage = Usage("peers", ssl.TLSVersion.TLSv1_3, ssl.CERT_REQUIRED, IDENTITY)
    store = TlsStore(files_in(directory), usage, SystemClock())
    store.load()
    return store


def test_members_take_what_is_made(tmp_path: Path) -> None:
    issue(plan(tmp_path, hosts=("127.0.0.1", "::1", "*.broker.test")))
    for member in (1, 2):
        assert load(tmp_path / f"member-{member}").material.certificate.uris == (IDENTITY,)
    certificate = x509.load_pem_x509_certificate((tmp_path / "member-1/cert.pem").read_bytes())
    assert isinstance(certificate.public_key(), ec.EllipticCurvePublicKey)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["*.broker.test"]
    assert [str(a) for a in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]


def test_a_clients_certificate_is_not_a_members(tmp_path: Path) -> None:
    issue(plan(tmp_path))
    with pytest.raises(BadMaterial, match="it is not the certificate of a member"):
        load(tmp_path / "client")


def test_keys_are_for_their_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        issue(plan(tmp_path))
    finally:
        os.umask(before)
    keys = list(tmp_path.rglob("*key.pem"))
    assert len(keys) == 4
    assert {path.stat().st_mode & 0o777 for path in keys} == {0o600}
    assert len({path.read_bytes() for path in keys}) == 4


def test_a_second_run_changes_nothing(tmp_path: Path) -> None:
    issue(plan(tmp_path))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.pem")}
    assert issue(plan(tmp_path)) == set()
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.pem")} == before
    assert sorted(path.name for path in (tmp_path / "client").iterdir()) == [
        "ca-cert.pem",
        "cert.pem",
        "key.pem",
    ]


def test_what_is_missing_is_made_with_the_ca_that_is_there(tmp_path: Path) -> None:
    issue(plan(tmp_path))
    (tmp_path / "member-2" / "cert.pem").unlink()
    (tmp_path / "client" / "key.pem").unlink()
    assert issue(plan(tmp_path)) == {"member-2/cert.pem", "client/key.pem", "client/cert.pem"}
    load(tmp_path / "member-2")


@pytest.mark.parametrize(
    ("wanted", "days_later"),
    [({"hosts": ("127.0.0.1", "localhost")}, 0), ({}, 340), ({}, 400)],
    ids=["other names", "ends soon", "ended"],
)
def test_a_certificate_that_no_longer_fits_is_renewed_for_the_same_key(
    tmp_path: Path, wanted: dict[str, tuple[str, ...]], days_later: int
) -> None:
    issue(plan(tmp_path))
    keys = {path: path.read_bytes() for path in tmp_path.rglob("*key.pem")}
    written = issue(plan(tmp_path, **wanted), days_later=days_later)
    assert {"member-1/cert.pem", "member-2/cert.pem"} <= written
    assert ("client/cert.pem" in written) == (days_later > 0)
    assert "ca-cert.pem" not in written
    assert {path: path.read_bytes() for path in tmp_path.rglob("*key.pem")} == keys


def test_a_ca_at_its_end_is_renewed_for_the_same_key_so_old_certificates_stay_good(
    tmp_path: Path,
) -> None:
    issue(plan(tmp_path, days=3650), days_later=-3640)
    member = (tmp_path / "member-1" / "cert.pem").read_bytes()
    assert "ca-cert.pem" in issue(plan(tmp_path))
    load(tmp_path / "member-1")
    (tmp_path / "member-1" / "cert.pem").write_bytes(member)
    load(tmp_path / "member-1")


def test_force_replaces_everything(tmp_path: Path) -> None:
    issue(plan(tmp_path))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.pem")}
    issue(plan(tmp_path), force=True)
    assert all(path.read_bytes() != content for path, content in before.items())
    load(tmp_path / "member-1")


def test_a_file_in_the_way_is_named_and_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ca-key.pem").write_text("something else")
    assert main(["tls", "init", str(tmp_path)]) == 1
    assert capsys.readouterr().err == (
        f"sybline tls init: {tmp_path}/ca-key.pem: does not hold a PEM private key\n"
    )
    assert (tmp_path / "ca-key.pem").read_text() == "something else"


def test_the_command_says_what_it_wrote_and_what_it_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = tmp_path / "certificates"
    arguments = ["tls", "init", str(directory), "--members=1", "--cluster-id=orders"]
    assert main([*arguments, "--hosts=127.0.0.1,broker.test"]) == 0
    assert f"wrote {directory}/member-1/key.pem\n" in capsys.readouterr().out
    assert main([*arguments, "--hosts=127.0.0.1,broker.test"]) == 0
    assert capsys.readouterr().out == "kept 6 files that still fit\n"
    load(directory / "member-1")


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("--hosts=a b", "'a b' is neither a host name nor an address"),
        ("--hosts=", "'' is neither a host name nor an address"),
        ("--members=0", "'0' is not a number from 1 to 31"),
        ("--days=x", "'x' is not a number from 1 to 3650"),
        ("--cluster-id=a b", "'a b' is not a cluster id"),
    ],
)
def test_wrong_arguments_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], argument: str, said: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["tls", "init", str(tmp_path / "new"), argument])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "new").exists()

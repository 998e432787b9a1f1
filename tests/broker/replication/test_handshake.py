"""The opening between two members: strangers learn nothing and get nowhere (REG-S2, C-11)."""

import itertools

import pytest

from sybline.replication.admission import Doubt, Refusal, Standing
from sybline.replication.handshake import (
    NONCE_BYTES,
    Frames,
    Handshake,
    HandshakeKind,
    HandshakeRefused,
    Judge,
    Side,
    ToldRefused,
)
from sybline.replication.identity import Identity

_nonces = itertools.count(1)
STRANGE = Refusal(Doubt.REMOVED, "no member any more")


def everybody(_peer: Standing) -> Refusal | None:
    return None


def nobody(_peer: Standing) -> Refusal | None:
    return STRANGE


def side(
    member: int,
    *,
    dials: int | None = None,
    cluster: str = "sybline",
    secret: bytes = b"s3cret",
    group: int = 0,
    judge: Judge = everybody,
    is_probe: bool = False,
) -> Handshake:
    own = Side(
        Identity(cluster, member, group),
        Standing(member, f"name-{member}", cluster_uid=7, version=3, is_blank=member == 3),
        secret,
        judge,
        next(_nonces).to_bytes(NONCE_BYTES, "big"),
    )
    is_dialer = dials is not None or is_probe
    return Handshake(own, dials=is_dialer, expected=dials, is_probe=is_probe)


def talk(dialer: Handshake, acceptor: Handshake) -> list[HandshakeKind]:
    """Carry frames both ways until nobody has any; return the kinds that passed."""
    passed: list[HandshakeKind] = []
    to_acceptor, to_dialer = dialer.first_frames(), acceptor.first_frames()
    while to_acceptor or to_dialer:
        to_dialer += carry(to_acceptor, acceptor, passed)
        to_acceptor = carry(to_dialer, dialer, passed)
        to_dialer = []
    return passed


def carry(frames: Frames, to: Handshake, passed: list[HandshakeKind]) -> Frames:
    answers: Frames = []
    for kind, body in frames:
        passed.append(kind)
        answers += to.received(kind, body)
    return answers


@pytest.mark.parametrize("secret", [b"", b"s3cret"])
def test_two_members_of_one_cluster_get_to_know_each_other(secret: bytes) -> None:
    dialer, acceptor = side(3, dials=1, secret=secret), side(1, secret=secret)
    hello, proof, welcome = HandshakeKind.HELLO, HandshakeKind.PROOF, HandshakeKind.WELCOME
    assert talk(dialer, acceptor) == [hello, hello, proof, proof, welcome, welcome]
    assert (dialer.is_done, dialer.peer) == (True, 1)
    assert (acceptor.is_done, acceptor.peer) == (True, 3)
    assert dialer.other == Standing(1, "name-1", cluster_uid=7, version=3, is_blank=False)
    assert acceptor.other == Standing(3, "name-3", cluster_uid=7, version=3, is_blank=True)


def test_who_is_judged_unfit_is_told_why_after_the_proofs() -> None:
    dialer, acceptor = side(3, dials=1), side(1, judge=nobody)
    (hello,) = dialer.first_frames()
    (answer,) = acceptor.received(*hello)
    (proof,) = dialer.received(*answer)
    with pytest.raises(HandshakeRefused, match="no member any more") as refused:
        acceptor.received(*proof)
    own_proof, refusal = refused.value.frames
    dialer.received(*own_proof)
    with pytest.raises(ToldRefused) as told:
        dialer.received(*refusal)
    assert (told.value.member, told.value.refusal) == (1, STRANGE)
    assert (dialer.is_done, acceptor.is_done) == (False, False)


def test_the_dialer_judges_too() -> None:
    dialer, acceptor = side(3, dials=1, judge=nobody), side(1)
    (hello,) = dialer.first_frames()
    (answer,) = acceptor.received(*hello)
    (proof,) = dialer.received(*answer)
    own_proof, _welcome = acceptor.received(*proof)
    with pytest.raises(HandshakeRefused) as refused:
        dialer.received(*own_proof)
    with pytest.raises(ToldRefused) as told:
        acceptor.received(*refused.value.frames[0])
    assert told.value.refusal == STRANGE
    assert (dialer.is_done, acceptor.is_done) == (False, False)


def test_nobody_believes_a_refusal_before_the_proof() -> None:
    dialer, acceptor = side(3, dials=1), side(1)
    (hello,) = dialer.first_frames()
    (answer,) = acceptor.received(*hello)
    dialer.received(*answer)
    with pytest.raises(HandshakeRefused) as refused:
        dialer.received(HandshakeKind.REFUSED, bytes([Doubt.LOST_DISK]) + b"go away")
    assert not isinstance(refused.value, ToldRefused)


def test_a_welcome_before_the_proof_is_out_of_place() -> None:
    dialer, acceptor = side(3, dials=1), side(1)
    (hello,) = dialer.first_frames()
    (answer,) = acceptor.received(*hello)
    dialer.received(*answer)
    with pytest.raises(HandshakeRefused, match="out of place"):
        dialer.received(HandshakeKind.WELCOME, b"")


def test_a_probe_learns_who_is_there_and_nothing_is_judged() -> None:
    prober, acceptor = side(9, is_probe=True, judge=nobody), side(1, judge=nobody)
    hello, proof = HandshakeKind.HELLO, HandshakeKind.PROOF
    assert talk(prober, acceptor) == [hello, hello, proof, proof]
    assert prober.is_done
    assert prober.other == Standing(1, "name-1", cluster_uid=7, version=3, is_blank=False)
    assert not acceptor.is_done


@pytest.mark.parametrize(
    ("dialer", "acceptor", "reason"),
    [
        (side(3, dials=1), side(1, cluster="other"), "another cluster"),
        (side(3, dials=1, group=1), side(1), "group 1"),
        (side(1, dials=1), side(1), "member 1 cannot talk to member 1"),
        (side(3, dials=1), side(2), "member 2 answers at the address of 1"),
        (side(3, dials=1), side(1, secret=b"wrong"), "secret is not the same"),
        (side(3, dials=1, secret=b""), side(1), "the other has none"),
        (side(3, dials=1), side(1, secret=b""), "the other has none"),
    ],
)
def test_who_does_not_belong_is_refused_with_a_reason(
    dialer: Handshake, acceptor: Handshake, reason: str
) -> None:
    with pytest.raises(HandshakeRefused, match=reason):
        talk(dialer, acceptor)
    assert not (dialer.is_done and acceptor.is_done)
    assert not acceptor.is_done


def test_the_side_that_was_dialled_proves_nothing_to_a_stranger() -> None:
    acceptor = side(1)
    stranger = side(3, dials=1, secret=b"guess")
    (hello,) = stranger.first_frames()
    (answer,) = acceptor.received(*hello)
    assert answer[0] is HandshakeKind.HELLO
    (guess,) = stranger.received(*answer)
    with pytest.raises(HandshakeRefused):
        acceptor.received(*guess)


def test_a_dialer_accepts_no_peer_without_the_secret() -> None:
    dialer, acceptor = side(3, dials=1), side(1)
    (hello,) = dialer.first_frames()
    (answer,) = acceptor.received(*hello)
    dialer.received(*answer)
    with pytest.raises(HandshakeRefused, match="secret"):
        dialer.received(HandshakeKind.PROOF, b"\0" * 32)
    assert not dialer.is_done


def test_a_proof_of_another_connection_is_worth_nothing() -> None:
    recorded, acceptor = side(3, dials=1), side(1)
    (hello,) = recorded.first_frames()
    (answer,) = acceptor.received(*hello)
    (proof,) = recorded.received(*answer)
    again = side(1)
    again.received(*hello)
    with pytest.raises(HandshakeRefused, match="secret"):
        again.received(*proof)


def test_a_members_own_proof_thrown_back_is_worth_nothing() -> None:
    dialer, acceptor = side(3, dials=1), side(1)
    (hello,) = dialer.first_frames()
    (answer,) = acceptor.received(*hello)
    (proof,) = dialer.received(*answer)
    with pytest.raises(HandshakeRefused, match="secret"):
        dialer.received(*proof)


@pytest.mark.parametrize("body", [b"", b"x", b"\0" * 92, b"GET / HTTP/1.1\r\n" * 8])
def test_a_stranger_gets_no_answer_at_all(body: bytes) -> None:
    with pytest.raises(HandshakeRefused) as caught:
        side(1).received(HandshakeKind.HELLO, body)
    assert caught.value.frames == []


@pytest.mark.parametrize("kind", [0, 2, 4, 200])
def test_only_the_frame_that_is_due_is_taken(kind: int) -> None:
    with pytest.raises(HandshakeRefused, match="out of place"):
        side(1).received(kind, b"")


def test_a_second_hello_is_out_of_place() -> None:
    acceptor = side(1)
    (hello,) = side(3, dials=1).first_frames()
    acceptor.received(*hello)
    with pytest.raises(HandshakeRefused, match="out of place"):
        acceptor.received(*hello)


def test_the_reason_of_the_other_side_is_made_harmless_for_the_log() -> None:
    kind, body = HandshakeKind.REFUSED, b"\0because\n\x1b[31m of " + b"x" * 5_000
    with pytest.raises(HandshakeRefused) as caught:
        side(3, dials=1).received(kind, body)
    text = str(caught.value)
    assert "because??[31m of" in text
    assert len(text) < 400
    assert caught.value.frames == []

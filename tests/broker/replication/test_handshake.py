"""The opening between two members: strangers learn nothing and get nowhere (REG-S2, C-11)."""

import itertools

import pytest

from sybline.replication.handshake import (
    NONCE_BYTES,
    Handshake,
    HandshakeKind,
    HandshakeRefused,
    refusal,
)
from sybline.replication.identity import Identity

_nonces = itertools.count(1)


def side(
    member: int,
    *,
    dials: int | None = None,
    cluster: str = "sybline",
    secret: bytes = b"s3cret",
    group: int = 0,
    peers: tuple[int, ...] = (1, 2, 3),
) -> Handshake:
    return Handshake(
        Identity(cluster, member, group),
        secret=secret,
        peers=frozenset(peers) - {member},
        nonce=next(_nonces).to_bytes(NONCE_BYTES, "big"),
        expected=dials,
    )


def talk(dialer: Handshake, acceptor: Handshake) -> list[HandshakeKind]:
    """Carry frames both ways until nobody has any; return the kinds that passed."""
    passed = []
    to_acceptor, to_dialer = dialer.first_frames(), acceptor.first_frames()
    while to_acceptor or to_dialer:
        for kind, body in to_acceptor:
            passed.append(kind)
            to_dialer = to_dialer + acceptor.received(kind, body)
        to_acceptor = []
        for kind, body in to_dialer:
            passed.append(kind)
            to_acceptor = to_acceptor + dialer.received(kind, body)
        to_dialer = []
    return passed


@pytest.mark.parametrize("secret", [b"", b"s3cret"])
def test_two_members_of_one_cluster_get_to_know_each_other(secret: bytes) -> None:
    dialer, acceptor = side(3, dials=1, secret=secret), side(1, secret=secret)
    hello, proof = HandshakeKind.HELLO, HandshakeKind.PROOF
    assert talk(dialer, acceptor) == [hello, hello, proof, proof]
    assert (dialer.is_done, dialer.peer) == (True, 1)
    assert (acceptor.is_done, acceptor.peer) == (True, 3)


@pytest.mark.parametrize(
    ("dialer", "acceptor", "reason"),
    [
        (side(3, dials=1), side(1, cluster="other"), "another cluster"),
        (side(3, dials=1, group=1), side(1), "group 1"),
        (side(9, dials=1), side(1), "member 9 is not a configured peer"),
        (side(1, dials=1), side(1), "member 1 is not a configured peer"),
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
    assert caught.value.tell is False


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
    kind, body = refusal("because\n\x1b[31m of " + "x" * 5_000)
    with pytest.raises(HandshakeRefused) as caught:
        side(3, dials=1).received(kind, body)
    text = str(caught.value)
    assert "because??[31m of" in text
    assert len(text) < 400
    assert caught.value.tell is False

"""Password hashing: what is stored, what it costs, and that the loop goes on meanwhile (U-4, U-5)."""

import asyncio
import hashlib
import hmac
import threading
import time
from collections.abc import Iterator

import pytest

from sybline import limits
from sybline.auth import passwords
from sybline.auth.passwords import PasswordHasher
from sybline.errors import HashingOverloaded, NotProposed
from sybline.state_machine.commands import PasswordHash
from tests.support.waiting import wait_for

CHEAP_N = 16
DEADLINE_S = 10.0


@pytest.fixture
def hasher() -> Iterator[PasswordHasher]:
    built = PasswordHasher(cost_n=CHEAP_N)
    yield built
    built.close()


class Gate:
    """Holds hashing threads back until it is opened, and counts how many are inside."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.opened = threading.Event()
        self.inside = 0
        self.most_inside = 0
        self.hashed: list[bytes] = []
        self._lock = threading.Lock()
        monkeypatch.setattr(passwords, "_scrypt", self._hash)

    def _hash(self, password: bytes, like: PasswordHash) -> bytes:
        with self._lock:
            self.inside += 1
            self.most_inside = max(self.most_inside, self.inside)
            self.hashed.append(password)
        assert self.opened.wait(DEADLINE_S)
        with self._lock:
            self.inside -= 1
        return b"digest"


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    built = Gate(monkeypatch)
    yield built
    built.opened.set()


async def test_a_hash_verifies_its_own_password_only(hasher: PasswordHasher) -> None:
    stored = await hasher.hash("correct horse", deadline_s=DEADLINE_S)
    assert await hasher.verify("correct horse", stored, deadline_s=DEADLINE_S)
    assert not await hasher.verify("correct horsf", stored, deadline_s=DEADLINE_S)
    assert not await hasher.verify("", stored, deadline_s=DEADLINE_S)


async def test_what_is_stored_is_scrypt_with_a_random_salt_of_its_own() -> None:
    hasher = PasswordHasher()
    first = await hasher.hash("pässword", deadline_s=DEADLINE_S)
    second = await hasher.hash("pässword", deadline_s=DEADLINE_S)
    hasher.close()
    assert (first.scheme, first.cost_n, first.cost_r, first.cost_p) == ("scrypt", 32768, 8, 1)
    assert len(first.salt) >= 16
    assert first.salt != second.salt
    assert first.digest == hashlib.scrypt(
        "pässword".encode(), salt=first.salt, n=32768, r=8, p=1, maxmem=1 << 26, dklen=32
    )


async def test_a_stored_hash_is_verified_at_the_cost_it_was_made_with(
    hasher: PasswordHasher,
) -> None:
    dearer = PasswordHasher(cost_n=CHEAP_N * 4)
    stored = await dearer.hash("secret", deadline_s=DEADLINE_S)
    dearer.close()
    assert await hasher.verify("secret", stored, deadline_s=DEADLINE_S)


async def test_the_pepper_keys_the_hash_and_is_identified_but_not_told(
    hasher: PasswordHasher,
) -> None:
    pepper = b"only on the members"
    peppered = PasswordHasher(pepper=pepper, cost_n=CHEAP_N)
    stored = await peppered.hash("secret", deadline_s=DEADLINE_S)
    keyed = hmac.digest(pepper, b"secret", "sha256")
    assert stored.digest == hashlib.scrypt(keyed, salt=stored.salt, n=CHEAP_N, r=8, p=1, dklen=32)
    assert await peppered.verify("secret", stored, deadline_s=DEADLINE_S)
    assert not await hasher.verify("secret", stored, deadline_s=DEADLINE_S)
    assert stored.pepper_check == peppered.pepper_check != b""
    assert pepper not in stored.pepper_check
    assert PasswordHasher(pepper=b"another").pepper_check != peppered.pepper_check
    assert hasher.pepper_check == b""
    peppered.close()


async def test_an_unknown_user_is_hashed_for_like_any_other(
    hasher: PasswordHasher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """U-5, REG-S6a: the same work, hence the same time."""
    stored = await hasher.hash("secret", deadline_s=DEADLINE_S)
    work = []

    def hash_noted(password: bytes, like: PasswordHash) -> bytes:
        work.append((password, like.cost_n, like.cost_r, like.cost_p, len(like.salt)))
        return b"x" * 32

    monkeypatch.setattr(passwords, "_scrypt", hash_noted)
    assert not await hasher.verify("guess", stored, deadline_s=DEADLINE_S)
    assert not await hasher.verify("guess", None, deadline_s=DEADLINE_S)
    assert work[0] == work[1]


async def test_no_digest_matches_the_password_of_nobody(
    hasher: PasswordHasher, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not await hasher.verify("", None, deadline_s=DEADLINE_S)
    assert not await hasher.verify("sybline", None, deadline_s=DEADLINE_S)


async def test_a_scheme_of_a_later_version_is_an_error_and_not_a_wrong_password(
    hasher: PasswordHasher,
) -> None:
    stored = PasswordHash("argon2id", b"salt", 3, 1, 1, b"digest")
    with pytest.raises(ValueError, match="'argon2id' is not known"):
        await hasher.verify("secret", stored, deadline_s=DEADLINE_S)


async def test_two_run_at_once_sixty_four_wait_and_the_next_is_refused(
    hasher: PasswordHasher, gate: Gate
) -> None:
    most = limits.PASSWORD_HASHES_AT_ONCE + limits.PASSWORD_HASH_QUEUE_MAX
    calls = [asyncio.create_task(hasher.hash("p", deadline_s=DEADLINE_S)) for _ in range(most)]
    await wait_for(lambda: gate.inside == 2, what="two hashes run", deadline_s=DEADLINE_S)
    with pytest.raises(HashingOverloaded) as refused:
        await hasher.verify("p", None, deadline_s=DEADLINE_S)
    assert refused.value.status == "RESOURCE_EXHAUSTED"
    assert refused.value.retry_after_s > 0
    gate.opened.set()
    assert len(await asyncio.gather(*calls)) == most
    assert gate.most_inside == limits.PASSWORD_HASHES_AT_ONCE
    await hasher.hash("there is room again", deadline_s=DEADLINE_S)


async def test_who_waits_past_the_deadline_leaves_the_queue(
    hasher: PasswordHasher, gate: Gate
) -> None:
    running = [asyncio.create_task(hasher.hash("p", deadline_s=DEADLINE_S)) for _ in range(2)]
    await wait_for(lambda: gate.inside == 2, what="two hashes run", deadline_s=DEADLINE_S)
    with pytest.raises(NotProposed):
        await hasher.hash("late", deadline_s=0.01)
    gate.opened.set()
    await asyncio.gather(*running)
    await hasher.hash("after", deadline_s=DEADLINE_S)
    assert gate.hashed == [b"p", b"p", b"after"]


async def test_a_cancelled_caller_leaves_the_queue(hasher: PasswordHasher, gate: Gate) -> None:
    running = [asyncio.create_task(hasher.hash("p", deadline_s=DEADLINE_S)) for _ in range(2)]
    await wait_for(lambda: gate.inside == 2, what="two hashes run", deadline_s=DEADLINE_S)
    waiting = asyncio.create_task(hasher.hash("gone", deadline_s=DEADLINE_S))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    gate.opened.set()
    await asyncio.gather(*running)
    await hasher.hash("after", deadline_s=DEADLINE_S)
    assert gate.hashed == [b"p", b"p", b"after"]


async def test_closing_drops_what_waits_and_takes_nothing_more(
    hasher: PasswordHasher, gate: Gate
) -> None:
    running = [asyncio.create_task(hasher.hash("p", deadline_s=DEADLINE_S)) for _ in range(2)]
    await wait_for(lambda: gate.inside == 2, what="two hashes run", deadline_s=DEADLINE_S)
    waiting = asyncio.create_task(hasher.hash("waits", deadline_s=DEADLINE_S))
    await asyncio.sleep(0)
    hasher.close()
    with pytest.raises(NotProposed):
        await waiting
    with pytest.raises(NotProposed, match="shuts down"):
        await hasher.hash("late", deadline_s=DEADLINE_S)
    gate.opened.set()
    await asyncio.gather(*running)


async def test_the_loop_goes_on_while_a_hundred_logins_are_checked() -> None:
    """REG-S8b: publishes are not stalled by key derivation."""
    hasher = PasswordHasher()
    gaps_s: list[float] = []
    logins = asyncio.gather(
        *(hasher.verify("guess", None, deadline_s=DEADLINE_S) for _ in range(100)),
        return_exceptions=True,
    )
    while not logins.done() and len(gaps_s) < 1000:
        before_s = time.perf_counter()
        await asyncio.sleep(0)
        gaps_s.append(time.perf_counter() - before_s)
    logins.cancel()
    hasher.close()
    gaps_s.sort()
    assert len(gaps_s) == 1000
    assert gaps_s[len(gaps_s) // 2] < 0.01  # one hash takes about 0.1 s

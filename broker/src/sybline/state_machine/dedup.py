"""Idempotency keys (P-8): the first publish with a key is stored, repeats within the window store nothing.

Owns the table of live keys, in the order of their expiry. A key belongs to a user; a new user of an old name finds
none.
"""

from typing import Final

from msgspec import Struct, msgpack

from sybline import limits
from sybline.state_machine.pages import Capture, Reader
from sybline.state_machine.tables import Table

_SEPARATOR = "\0"  # in no user name and no key
_KEYS_PER_PAGE: Final = 512


class KeyRecord(Struct, frozen=True, array_like=True, gc=False):
    """A publish that was stored under a key."""

    digest: bytes  # of routing keys and bodies
    index: int  # log entry that stored it
    expires_ms: int


_decoder = msgpack.Decoder(list[tuple[str, KeyRecord]])


def _encode(rows: dict[str, KeyRecord]) -> bytes:
    return msgpack.encode(list(rows.items()))


class IdempotencyKeys:
    """The live keys."""

    __slots__ = ("_records",)

    def __init__(self) -> None:
        # In the order of expiry: the window is fixed and log time never goes back.
        self._records: Table[str, KeyRecord] = Table(_KEYS_PER_PAGE, _encode)

    def __len__(self) -> int:
        return len(self._records)

    def find(self, user: str, key: str, now_ms: int) -> KeyRecord | None:
        """Return the publish stored under a live key."""
        record = self._records.get(user + _SEPARATOR + key)
        return record if record is not None and record.expires_ms > now_ms else None

    def is_full(self) -> bool:
        """Return whether no further key may be used."""
        return len(self._records) >= limits.IDEMPOTENCY_KEYS_MAX

    def store(self, user: str, key: str, digest: bytes, index: int, now_ms: int) -> None:
        """Use a key that is not live."""
        name = user + _SEPARATOR + key
        if name in self._records:
            self._records.remove(name)  # it has expired without a tick
        self._records.put(name, KeyRecord(digest, index, now_ms + limits.IDEMPOTENCY_WINDOW_MS))

    def forget_user(self, user: str) -> None:
        """Drop the keys of a user that is deleted (U-3)."""
        prefix = user + _SEPARATOR
        for name in [name for name in self._records if name.startswith(prefix)]:
            self._records.remove(name)

    def next_due_ms(self) -> int | None:
        """Return when the first key expires."""
        first = self._records.first()
        return None if first is None else first[1].expires_ms

    def expire(self, now_ms: int, budget: int) -> int:
        """Drop keys whose window is over, first expired first; return how many."""
        used = 0
        while used < budget:
            first = self._records.first()
            if first is None or first[1].expires_ms > now_ms:
                break
            self._records.remove(first[0])
            used += 1
        return used

    def dump(self) -> list[tuple[str, KeyRecord]]:
        """Return the keys, in order."""
        return list(self._records.items())

    @classmethod
    def load(cls, dump: list[tuple[str, KeyRecord]]) -> "IdempotencyKeys":
        """Return the keys of a dump."""
        keys = cls()
        for name, record in dump:
            keys._records.put(name, record)
        return keys

    def capture(self, capture: Capture) -> bytes:
        """Include all keys and return the numbers of their pages."""
        return self._records.capture(capture)

    @classmethod
    def load_pages(cls, pages: bytes, reader: Reader) -> "IdempotencyKeys":
        """Return the keys in pages."""
        keys = cls()
        keys._records.load(pages, reader, _decoder.decode)
        return keys

    def check_invariants(self) -> None:
        """Raise AssertionError when the table contradicts itself."""
        expiries = [record.expires_ms for record in self._records.values()]
        assert expiries == sorted(expiries)
        assert len(expiries) <= limits.IDEMPOTENCY_KEYS_MAX

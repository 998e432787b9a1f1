"""A state that is nothing but bytes, cut into small pages: what tests of the journal save and load.

Like the product's state it refers to pages that are stored already, so page files are shared, die and are rewritten.
"""

from array import array

from sybline.replication.cold_store import HasLive
from sybline.replication.journal import CheckpointJob, Installation, Journal
from sybline.replication.state_dump import PAGE_NUMBERS, Page, SavedState

PAGE_BYTES = 24


class PagedBytes:
    """The pages of one member that are stored, by what is in them."""

    def __init__(self) -> None:
        self.saved: dict[bytes, int] = {}

    def dump(self, state: bytes, first_page: int) -> "PagedBytesDump":
        """Return a dump of a value."""
        return PagedBytesDump(self, state, first_page)


class PagedBytesDump:
    """One dump; two pages a slice."""

    def __init__(self, pages: PagedBytes, state: bytes, first_page: int) -> None:
        self._store = pages
        self.next_page = first_page
        self._new: list[Page] = []
        self._numbers = array(PAGE_NUMBERS)
        self._saved: dict[bytes, int] = {}
        for at in range(0, len(state), PAGE_BYTES):
            data = state[at : at + PAGE_BYTES]
            number = self._saved.get(data) or pages.saved.get(data)
            if number is None:
                number = self.next_page
                self.next_page += 1
                self._new.append(Page(number, data))
            self._saved[data] = number
            self._numbers.append(number)

    def collect(self, _bytes_max: int) -> list[Page]:
        batch, self._new = self._new[:2], self._new[2:]
        return batch

    @property
    def is_whole(self) -> bool:
        return not self._new

    def root(self) -> bytes:
        return self._numbers.tobytes()

    def pages(self) -> "array[int]":
        return self._numbers

    def end(self, *, saved: bool) -> None:
        if saved:
            self._store.saved = self._saved


def read_state(saved: SavedState | None) -> bytes | None:
    """Return the value in a saved state, and close it."""
    if saved is None:
        return None
    numbers = array(PAGE_NUMBERS)
    numbers.frombytes(saved.root)
    state = b"".join(map(saved.page, numbers))
    saved.close()
    return state


def no_bodies(_first: int, _end: int) -> bool:
    """Say that the state needs no body at all."""
    return False


def save_state(journal: Journal, index: int, state: bytes, *, live: HasLive = no_bodies) -> bool:
    """Write a checkpoint and return whether it was written."""
    return journal.end_checkpoint(write_state(journal, index, state, PagedBytes(), live))


def write_state(
    journal: Journal, index: int, state: bytes, pages: PagedBytes, live: HasLive
) -> CheckpointJob:
    """Write a checkpoint, which is still to be ended."""
    dump = pages.dump(state, journal.checkpoints.next_page)
    job = journal.begin_checkpoint(index, dump, live=live)
    journal.run_checkpoint(job)
    while not job.is_done:
        job.collect()
        journal.run_checkpoint(job)
    return job


def remove_dead(journal: Journal) -> None:
    """Do what there is to do about cold files, as the background thread would."""
    while (
        work := journal.cold.next_work(journal.checkpoint_index, lambda payload, _: payload)
    ) is not None:
        work.run()
        work.done()


def finish_install(installation: Installation) -> bytes | None:
    """Switch to a received image and return the value in it."""
    states: list[bytes | None] = []
    installation.finish(lambda saved: states.append(read_state(saved)))
    return states[0]

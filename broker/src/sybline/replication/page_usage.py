"""Which page files a checkpoint writes anew, so that they are neither mostly dead nor too many. Pure arithmetic.

Rewriting the emptiest first, and only while dead bytes outweigh live ones, copies at most about one byte for each byte
that was written before. Small files are joined half of them at a time, so a page is copied a few times at most.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

SMALL_FILES_MAX: Final = 32  # below half of the usual size


@dataclass(frozen=True, slots=True)
class PageFileUse:
    """How much of a page file is needed."""

    number: int
    total_bytes: int
    live_bytes: int


def files_to_rewrite(
    uses: Sequence[PageFileUse], *, new_bytes: int, usual_bytes: int, loose_bytes: int
) -> list[int]:
    """Return the numbers of the page files whose live pages go into a new file.

    `new_bytes`: what the checkpoint writes anyway. Files without a live page are left out: they just go.
    """
    kept = [use for use in uses if use.live_bytes]
    chosen: list[int] = []
    total = new_bytes + sum(use.total_bytes for use in kept)
    live = new_bytes + sum(use.live_bytes for use in kept)
    for use in sorted(kept, key=lambda use: use.live_bytes / use.total_bytes):
        if total <= 2 * live + loose_bytes:
            break
        chosen.append(use.number)
        total -= use.total_bytes - use.live_bytes
    small = sorted(
        (use for use in kept if use.live_bytes < usual_bytes // 2 and use.number not in chosen),
        key=lambda use: use.live_bytes,
    )
    if len(small) > SMALL_FILES_MAX:
        chosen += [use.number for use in small[: len(small) // 2]]
    return chosen

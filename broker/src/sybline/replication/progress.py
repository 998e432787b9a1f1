"""What a leader knows about one follower, and how much may be in flight to it."""

import math
from collections import deque
from enum import Enum

from sybline import limits
from sybline.replication.image import Image


class Mode(Enum):
    """How a follower is fed (rule 8)."""

    PROBE = "probe"  # one message in flight, only its answer counts
    REPLICATE = "replicate"  # a window of messages in flight
    INSTALL = "install"  # an image, one chunk in flight


class Progress:
    """One follower. `match` never falls within a leadership."""

    __slots__ = (
        "answered_s",
        "commit_told",
        "due_s",
        "heard_s",
        "image",
        "in_flight",
        "in_flight_bytes",
        "large_until_s",
        "match",
        "mode",
        "next",
        "offset",
        "paused_until_s",
        "round",
        "sent_s",
    )

    def __init__(self, next_index: int, now_s: float) -> None:
        self.match = 0
        self.next = next_index
        self.mode = Mode.PROBE
        self.due_s = 0.0  # when something is sent without news
        self.sent_s = now_s  # when the oldest unanswered message left
        self.answered_s = now_s  # when match rose last
        self.heard_s = now_s  # when the newest answered heartbeat round began
        self.round = 0  # newest heartbeat round answered
        self.commit_told = 0
        self.image: Image | None = None
        self.offset = 0
        self.paused_until_s = 0.0  # no image data until then
        self.in_flight: deque[tuple[int, int]] = deque()  # last index, bytes
        self.in_flight_bytes = 0
        self.large_until_s = 0.0  # a large entry may be on its way until then

    @property
    def has_room(self) -> bool:
        """Return whether another message may leave in REPLICATE mode."""
        return (
            self.next - 1 - self.match < limits.WINDOW_ENTRIES_MAX
            and self.in_flight_bytes < limits.WINDOW_BYTES_MAX
        )

    def heard_age_s(self, now_s: float) -> float:
        """Return how long ago the newest answered heartbeat round began; inf: it has not answered this leader yet."""
        return now_s - self.heard_s if self.round else math.inf

    @property
    def is_idle(self) -> bool:
        return self.next - 1 == self.match

    @property
    def image_bytes(self) -> int:
        """Return the size of the image that is being sent; 0: none is."""
        return 0 if self.image is None else self.image.total_bytes

    @property
    def image_sent_bytes(self) -> int:
        """Return how much of it the follower has."""
        return 0 if self.image is None else self.offset

    def sent(self, last: int, size_bytes: int, now_s: float) -> None:
        """Note a message with entries up to `last`."""
        if self.is_idle:
            self.sent_s = now_s
        self.next = last + 1
        self.in_flight.append((last, size_bytes))
        self.in_flight_bytes += size_bytes

    def matched(self, index: int, now_s: float) -> None:
        """The follower has everything up to `index` on its disk, as the leader has it."""
        if index > self.match:
            self.match = index
            self.answered_s = now_s
        while self.in_flight and self.in_flight[0][0] <= self.match:
            self.in_flight_bytes -= self.in_flight.popleft()[1]

    def sent_large(self, size_bytes: int, now_s: float) -> None:
        """Note an entry that takes its time: sent again too soon, copies of it would fill the connection."""
        self.large_until_s = now_s + size_bytes / limits.LARGE_ENTRY_BYTES_PER_S

    def probe(self, now_s: float, *, at: int | None = None) -> None:
        """Go back to one message in flight, from `at` or from what is known to match."""
        self.close_image()
        self.large_until_s = 0.0
        self.mode = Mode.PROBE
        self.next = self.match + 1 if at is None else at
        self.due_s = now_s
        self.in_flight.clear()
        self.in_flight_bytes = 0

    def replicate(self, now_s: float) -> None:
        """Open the window."""
        self.mode = Mode.REPLICATE
        self.next = self.match + 1
        self.sent_s = now_s
        self.in_flight.clear()
        self.in_flight_bytes = 0

    def install(self, image: Image, now_s: float) -> None:
        """Send an image from its beginning."""
        self.mode = Mode.INSTALL
        self.image = image
        self.offset = 0
        self.due_s = now_s

    def close_image(self) -> None:
        """Unpin the image's files."""
        if self.image is not None:
            self.image.close()
            self.image = None

"""The named fault configurations: what a cluster is made of, what its clients do, and what goes wrong how often."""

from dataclasses import dataclass, field

from sybline.replication.journal import JournalOptions
from sybline.replication.node import CheckpointDistance
from sybline.replication.timing import Timing

QUICK = Timing(
    election_s=0.3, heartbeat_s=0.08, disconnect_jitter_s=(0.01, 0.06), hurry_s=(0.03, 0.1)
)
SMALL = JournalOptions(
    segment_bytes=2_000, recent_bytes=6_000, margin_entries=20, margin_bytes=6_000
)
TINY = JournalOptions(segment_bytes=700, recent_bytes=3_000, margin_entries=3, margin_bytes=2_000)
SMALL_LAG = {"CAUGHT_UP_LAG_ENTRIES_MAX": 6, "TELL_REMOVED_S": 1}
SMALL_CHUNKS = {"INSTALL_CHUNK_BYTES": 400, "APPEND_ENTRIES_MAX": 8, "WINDOW_ENTRIES_MAX": 16}
FAR = CheckpointDistance(entries=1_000_000)
PROCESSES = ("crash", "crash_leader", "power", "crash_soon", "stop")
NETWORK = ("cut_off", "cut_off_leader", "cut_pair", "one_way", "deaf_leader", "break_one")


@dataclass(frozen=True)
class Administration:
    """What is to be done in a run. Times in virtual seconds."""

    gap_s: float  # between two looks at the cluster, on average
    sizes: tuple[
        int, ...
    ] = ()  # how many voters there shall be, one number after the other; then as many as there are
    replaces: bool = False  # all members, one after the other, by new disks
    whims: float = 0.3  # of looks: what nobody would do on purpose


@dataclass(frozen=True)
class Configuration:
    """One way to run a cluster. Times in virtual seconds."""

    faults: tuple[str, ...] = ()
    gap_s: float = 0.5  # between two faults, on average
    lasts_s: tuple[float, float] = (0.1, 2.0)
    members: int = 3
    seconds: float = 8.0
    rate: float = 14.0  # of client actions a second
    timing: Timing = QUICK
    options: JournalOptions = SMALL
    checkpoint: CheckpointDistance = field(default_factory=lambda: CheckpointDistance(entries=40))
    late_rate: float = 0.0  # of frames
    late_s: tuple[float, float] = (0.02, 0.6)
    slow_sync_rate: float = 0.02
    bounds: dict[str, int] = field(default_factory=dict)  # of `limits` or of the node, made small
    is_hasty: bool | None = None  # without pre-vote and stickiness; None: in half of the runs
    product_state: bool = False
    administration: Administration | None = None
    ambush_rate: float = 0.0  # of the steps of each change of the membership


CONFIGURATIONS: dict[str, Configuration] = {
    "calm": Configuration(seconds=6.0, rate=25.0),
    "crashes": Configuration(faults=PROCESSES, gap_s=0.6),
    "power": Configuration(
        faults=("power", "power", "power_all", "crash_soon"), gap_s=0.5, slow_sync_rate=0.1
    ),
    "partitions": Configuration(faults=NETWORK, gap_s=0.6),
    "snapshots": Configuration(
        faults=("cut_off", "crash", "power", "crash_soon", "break_one", "cut_off_leader"),
        gap_s=0.7, options=TINY, checkpoint=CheckpointDistance(entries=12), rate=20.0,
        bounds=SMALL_CHUNKS,
    ),
    "divergent": Configuration(
        faults=("cut_off_leader", "cut_off_leader", "deaf_leader", "crash_leader", "power", "pause"),
        gap_s=0.45, lasts_s=(0.2, 1.5), rate=25.0, checkpoint=FAR,
        bounds={"APPEND_ENTRIES_MAX": 4, "WINDOW_ENTRIES_MAX": 12},
    ),
    "disk-errors": Configuration(
        faults=("sync_error", "full_disk", "read_error", "crash_soon", "power", "cut_off"), gap_s=0.6
    ),
    "pauses": Configuration(
        faults=("pause", "pause", "jump", "one_way", "crash"), gap_s=0.4, late_rate=0.02
    ),
    "transfers": Configuration(
        faults=("transfer", "transfer", "break_one", "crash_leader", "pause"), gap_s=0.35
    ),
    "elections": Configuration(
        faults=("crash_leader", "cut_off_leader", "power_all", "crash_soon", "transfer", "pause"),
        gap_s=0.25, lasts_s=(0.05, 0.8), members=5, rate=6.0, late_rate=0.1, late_s=(0.02, 0.8),
        slow_sync_rate=0.1,
    ),
    "late": Configuration(
        faults=("break_one", "one_way", "crash_leader", "power"), late_rate=0.15, late_s=(0.02, 1.0)
    ),
    "five-members": Configuration(
        faults=(*PROCESSES, *NETWORK, "pause", "jump", "transfer"), gap_s=0.3, members=5,
        rate=12.0,
    ),
    "contested": Configuration(
        faults=("crash_leader", "power_all", "cut_off_leader"), gap_s=0.5, lasts_s=(0.1, 0.6),
        rate=4.0, late_rate=0.3, late_s=(0.1, 0.8), is_hasty=True,
    ),
    "slow-disks": Configuration(
        faults=("cut_off_leader", "crash_leader", "transfer", "transfer", "cut_off", "cut_off", "power", "jump"),
        gap_s=0.4, lasts_s=(0.2, 1.5), rate=20.0, options=TINY, slow_sync_rate=0.35,
        checkpoint=CheckpointDistance(entries=10), bounds={**SMALL_CHUNKS, "APPLY_ENTRIES_PER_TICK": 3},
    ),
    "reads": Configuration(
        faults=("pause", "pause", "pause", "jump", "cut_off_leader", "deaf_leader"), gap_s=0.5,
        lasts_s=(0.3, 0.8), rate=30.0,
    ),
    "product-state": Configuration(
        faults=(*PROCESSES, "cut_off", "cut_off_leader", "break_one", "break_one", "pause", "transfer"),
        gap_s=0.5, rate=12.0, options=TINY, checkpoint=CheckpointDistance(entries=25),
        product_state=True, bounds={"INSTALL_CHUNK_BYTES": 700, "APPLY_ENTRIES_PER_TICK": 2},
        administration=Administration(gap_s=0.5),
    ),
    "everything": Configuration(
        faults=(*PROCESSES, *NETWORK, "pause", "jump", "transfer", "power_all", "sync_error", "full_disk"),
        gap_s=0.35, options=TINY, checkpoint=CheckpointDistance(entries=20), late_rate=0.02,
        bounds={"INSTALL_CHUNK_BYTES": 700, "APPEND_ENTRIES_MAX": 20, "WINDOW_ENTRIES_MAX": 40},
        administration=Administration(gap_s=0.5), ambush_rate=0.02,
    ),
    "membership": Configuration(
        faults=("crash", "crash_leader", "stop", "pause", "transfer", "break_one"), gap_s=0.8,
        rate=8.0, administration=Administration(gap_s=0.15, sizes=(4, 2, 5, 3)), ambush_rate=0.04,
        bounds=SMALL_LAG,
    ),
    "membership-power": Configuration(
        faults=("power", "crash_soon", "power_all"), gap_s=0.9, rate=8.0, slow_sync_rate=0.1,
        administration=Administration(gap_s=0.15, sizes=(2, 4, 3)), ambush_rate=0.06,
        checkpoint=CheckpointDistance(entries=15),
    ),
    "membership-partitions": Configuration(
        faults=NETWORK, gap_s=0.6, rate=8.0, lasts_s=(0.1, 1.5), late_rate=0.02,
        administration=Administration(gap_s=0.12, sizes=(2, 4, 3, 5)), ambush_rate=0.06,
    ),
    "replacement": Configuration(
        faults=("crash", "cut_off", "break_one", "transfer", "pause"), gap_s=1.0, rate=12.0,
        options=TINY, checkpoint=CheckpointDistance(entries=15), bounds={**SMALL_CHUNKS, **SMALL_LAG},
        administration=Administration(gap_s=0.12, replaces=True, whims=0.1), ambush_rate=0.03,
    ),
    "grow-shrink": Configuration(
        faults=("crash", "cut_off_leader", "power", "break_one"), gap_s=1.0, rate=10.0, members=1,
        administration=Administration(gap_s=0.12, sizes=(3, 5, 3, 1), whims=0.1), ambush_rate=0.03,
        checkpoint=CheckpointDistance(entries=20),
    ),
}  # fmt: skip

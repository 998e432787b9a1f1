"""Members whose disks can lose power: who does so when it is killed, and what that takes from its disk."""

import random
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.support.cluster import Cluster
from tests.support.disk_shim import DiskShim
from tests.support.power_loss import KEPT, Loss, lose_power

KILLED_ONLY_SHARE = 0.15  # what such a member had not synced is lost with a later power loss


@dataclass
class Power:
    """The disks of a cluster. Made before its members are started."""

    cluster: Cluster
    rng: random.Random
    kept: tuple[str, ...] = KEPT
    shims: dict[int, DiskShim] = field(default_factory=dict)
    lost_writes: int = 0  # files of which a part was put back
    lost_names: int = 0

    def __post_init__(self) -> None:
        for number, member in self.cluster.members.items():
            shim = self.shims[number] = DiskShim(member.data_dir)
            member.environment |= shim.environment()

    def cut(self, members: Iterable[int]) -> str:
        """Take the power from members that were just killed, and say what came of it; some keep it."""
        told = []
        for member in members:
            if self.rng.random() < KILLED_ONLY_SHARE:
                told.append(f"{member}: kept")
                continue
            loss = self._lose(member)
            told.append(f"{member}: {loss}")
        return f" [{'; '.join(told)}]"

    def _lose(self, member: int) -> Loss:
        loss = lose_power(self.shims[member], self.rng, kept=self.kept)
        self.lost_writes += sum(count for kept, count in loss.files.items() if kept != "all")
        self.lost_names += loss.names
        return loss

"""Damaged, missing, cut and foreign files under real members: refused by name, or whole (C-7, F5, P7).

One damage of each sort here: what the process makes of it. Every byte of every file is tried in-process, by
`tests/broker/replication/test_journal_damage.py`.
"""

import asyncio
import json
import random
import re
import shutil
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.cluster import Cluster
from tests.support.stored_member import (
    CHECKPOINT_ENTRIES,
    Refused,
    Served,
    StoredMember,
    require_clear,
)

pytestmark = pytest.mark.integration
RESTORED_ALONE = {"reserve", "NEXT", "LOCK"}  # made anew at each start


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoredMember]:
    directory = tmp_path_factory.mktemp("stored")
    settings = {"SNAPSHOT_THRESHOLD": CHECKPOINT_ENTRIES}
    with Cluster(directory / "members", members=1, settings=settings) as cluster:
        member = StoredMember(cluster, directory / "copy")
        asyncio.run(member.fill())
        yield member


def kind_of(path: Path) -> str:
    return re.sub(r"\d+", "#", path.name)


def by_kind(stored: StoredMember) -> dict[str, list[Path]]:
    kinds: dict[str, list[Path]] = {}
    for path in stored.files():
        kinds.setdefault(kind_of(path), []).append(path)
    return {kind: paths for kind, paths in kinds.items() if kind not in RESTORED_ALONE}


def content_bytes(path: Path) -> int:
    """Return the length without the zeros at the end: what is only allocated."""
    return len(path.read_bytes().rstrip(b"\0"))


def flip(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 0x10]))


def cut(path: Path, length: int) -> None:
    with path.open("r+b") as file:
        file.truncate(length)


async def outcomes(
    stored: StoredMember, damages: dict[str, Callable[[Path], object]]
) -> dict[str, str]:
    """Return what came of each damage, after judging it."""
    found = {}
    for what, damage in damages.items():
        outcome = await stored.outcome_of(damage)
        found[what] = stored.judge(outcome, stored.copy_path, what)
    print("\n".join(f"{outcome:8} {what}" for what, outcome in found.items()))
    return found


async def test_an_undamaged_copy_is_served_whole(stored: StoredMember) -> None:
    kinds = by_kind(stored)
    assert len(kinds["log-#"]) >= 2
    assert kinds.keys() >= {"IDENTITY", "VOTE", "CURRENT", "checkpoint-#"}
    assert await outcomes(stored, {"nothing": lambda directory: None}) == {"nothing": "served"}


async def test_a_flipped_bit_in_any_kind_of_file_is_refused_or_harms_nothing(
    stored: StoredMember,
) -> None:
    damages: dict[str, Callable[[Path], object]] = {}
    for kind, paths in by_kind(stored).items():
        for path in {paths[0], paths[-1]}:
            middle = content_bytes(stored.origin / path) // 2
            damages[f"{kind} middle of {path.name}"] = lambda directory, p=path, at=middle: flip(
                directory / p, at
            )
    found = await outcomes(stored, damages)
    for what, outcome in found.items():
        if what.startswith(("IDENTITY", "CURRENT", "checkpoint-#", "log-#")):
            assert outcome == "refused", what


async def test_a_missing_file_of_any_kind_is_refused_or_not_needed(stored: StoredMember) -> None:
    damages: dict[str, Callable[[Path], object]] = {}
    for kind, paths in by_kind(stored).items():
        for path in {paths[0], paths[-1]}:
            damages[f"{kind} without {path.name}"] = lambda directory, p=path: (
                directory / p
            ).unlink()
    damages["the group"] = lambda directory: shutil.rmtree(directory / "group-0")
    for name in sorted(RESTORED_ALONE):
        damages[f"made anew: {name}"] = lambda directory, n=name: [
            path.unlink() for path in directory.rglob(n)
        ]
    found = await outcomes(stored, damages)
    for what, outcome in found.items():
        if what.startswith(("IDENTITY", "CURRENT", "VOTE", "log-#", "the group")):
            assert outcome == "refused", what
        if what.startswith("made anew"):
            assert outcome == "served", what


async def test_a_file_cut_short_is_refused_or_not_needed(stored: StoredMember) -> None:
    damages: dict[str, Callable[[Path], object]] = {}
    for kind, paths in by_kind(stored).items():
        half = content_bytes(stored.origin / paths[-1]) // 2
        for left in (0, half) if kind in ("log-#", "CURRENT") else (half,):
            damages[f"{kind} cut to {left}"] = lambda directory, p=paths[-1], n=left: cut(
                directory / p, n
            )
    found = await outcomes(stored, damages)
    half_a_vote_is_one_of_two_slots = {what for what in found if what.startswith("VOTE cut")}
    assert {found[what] for what in found.keys() - half_a_vote_is_one_of_two_slots} == {"refused"}


async def test_a_write_that_was_under_way_is_cut_off_and_nothing_is_lost(
    stored: StoredMember,
) -> None:
    newest = by_kind(stored)["log-#"][-1]
    rng = random.Random(5)

    def tear(directory: Path, size: int) -> None:
        path = directory / newest
        end = content_bytes(path)
        with path.open("r+b") as file:
            file.seek(end)
            file.write(rng.randbytes(size))

    damages = {f"{n} bytes of a record": lambda d, n=n: tear(d, n) for n in (25, 20_000)}
    assert set((await outcomes(stored, damages)).values()) == {"served"}


async def test_a_log_of_a_clean_stop_that_ends_early_is_refused(stored: StoredMember) -> None:
    """The last record promises all before it; so zeros where records were are damage, not a torn tail."""
    newest = by_kind(stored)["log-#"][-1]

    def wipe(directory: Path, share: float) -> None:
        path = directory / newest
        end = content_bytes(path)
        begin = int(end * share)
        with path.open("r+b") as file:
            file.seek(begin)
            file.write(bytes(end - begin - 60))  # but for the promise at the end

    damages = {f"zeros from {share}": lambda d, s=share: wipe(d, s) for share in (0.1, 0.9)}
    assert set((await outcomes(stored, damages)).values()) == {"refused"}


async def test_another_clusters_or_members_directory_is_refused(stored: StoredMember) -> None:
    for setting, value in (("SYBLINE_MEMBER__CLUSTER_ID", "another"), ("RAFT_NODE_ID", "7")):
        directory = stored.copy()
        outcome = await stored.outcome_on(directory, **{setting: value})
        assert isinstance(outcome, Refused), setting
        require_clear(outcome, str(directory / "IDENTITY"), setting)


@pytest.mark.parametrize("name", ["IDENTITY", "CURRENT"])
async def test_a_newer_format_version_is_refused(stored: StoredMember, name: str) -> None:
    def raise_version(directory: Path) -> None:
        [path] = directory.rglob(name)
        fields = json.loads(path.read_text())
        fields.pop("crc32")
        fields["format"] += 1
        crc = zlib.crc32(json.dumps(dict(sorted(fields.items()))).encode())
        path.write_text(json.dumps({**fields, "crc32": crc}) + "\n")

    outcome = await stored.outcome_of(raise_version)
    assert isinstance(outcome, Refused)
    assert "format version" in outcome.text
    require_clear(outcome, name, "a newer format")


async def test_a_vote_of_an_older_moment_is_refused(stored: StoredMember) -> None:
    """A start makes a new term; the vote from before it was restored alone."""
    [vote] = by_kind(stored)["VOTE"]
    directory = stored.copy()
    assert isinstance(await stored.outcome_on(directory), Served)
    shutil.copyfile(stored.origin / vote, directory / vote)
    outcome = await stored.outcome_on(directory)
    assert isinstance(outcome, Refused)
    require_clear(outcome, str(directory / vote), "an older vote")

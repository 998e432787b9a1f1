"""`sybline log`: what it shows of a data directory, and that it finds damage and changes nothing."""

import json
import random
from itertools import pairwise
from pathlib import Path

import pytest

from sybline.cli.main import main
from sybline.replication.configuration import encode_configuration, static_configuration
from sybline.replication.journal import COMMAND, Entry, Journal, JournalOptions
from sybline.replication.state_dump import WholeDump
from tests.support.paged_bytes import remove_dead

OPTIONS = JournalOptions(segment_bytes=8_192, margin_entries=4, margin_bytes=8_192)


def store(directory: Path) -> Path:
    """Store the log of a member, with a checkpoint and cold files, and return its directory."""
    journal = Journal.open(directory, cluster_id="shop", member=2, options=OPTIONS)
    journal.set_vote(3, 2)
    rng = random.Random(1)
    for index in range(1, 81):
        journal.append([Entry(index, 3, COMMAND, rng.randbytes(700))])
        journal.sync()
    members = encode_configuration(static_configuration((1, 2, 3)))
    job = journal.begin_checkpoint(
        70, WholeDump(b"state"), live=lambda *_: True, configuration=members
    )
    journal.run_checkpoint(job)
    assert journal.end_checkpoint(job)
    remove_dead(journal)
    journal.close()
    return directory


def contents(directory: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_inspect_shows_vote_checkpoint_and_which_entries_are_where(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = store(tmp_path / "data")
    before = contents(directory)
    assert main(["log", "inspect", str(directory)]) == 0
    shown = capsys.readouterr().out
    assert "member      2 of cluster shop" in shown
    assert "term        3, voted for member 2" in shown
    assert "checkpoint  index 70, term 3" in shown
    assert "  member    3" in shown
    assert main(["log", "inspect", str(directory), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["last_index"], facts["checkpoint_index"]) == (80, 70)
    kinds = [file["kind"] for file in facts["files"]]
    assert kinds == sorted(kinds)
    assert kinds.count("cold") > 3
    indexes = [(f["first_index"], f["last_index"]) for f in facts["files"] if f["entries"]]
    assert indexes[0][0] == 1
    assert indexes[-1][1] == 80
    assert all(after[0] == last + 1 for (_, last), after in pairwise(indexes))
    assert contents(directory) == before


def test_verify_finds_nothing_in_a_sound_directory_and_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = store(tmp_path / "data")
    before = contents(directory)
    assert main(["log", "verify", str(directory)]) == 0
    assert capsys.readouterr().out == "all sound\n"
    assert contents(directory) == before


def test_verify_names_each_damaged_file_with_offset_and_advice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = store(tmp_path / "data")
    logs = sorted(directory.rglob("log-??????????"))
    damaged = [logs[0], logs[3], logs[-2]]
    for path in damaged:
        data = bytearray(path.read_bytes())
        data[2_000] ^= 1
        path.write_bytes(data)
    assert main(["log", "verify", str(directory)]) == 1
    *lines, summary = capsys.readouterr().out.splitlines()
    assert {line.split(" at byte ")[0] for line in lines} == {str(path) for path in damaged}
    assert all("Restore the disk" in line for line in lines)
    assert summary == f"{len(lines)} findings"
    assert main(["log", "verify", str(directory), "--json"]) == 1
    assert len(json.loads(capsys.readouterr().out)) == len(lines)


@pytest.mark.parametrize("command", ["inspect", "verify"])
def test_the_directory_of_a_running_member_is_left_alone(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = store(tmp_path / "data")
    journal = Journal.open(directory, cluster_id="shop", member=2, options=OPTIONS)
    assert main(["log", command, str(directory)]) == 1
    assert "stop the member, or look at a copy" in capsys.readouterr().err
    journal.close()


@pytest.mark.parametrize("command", ["inspect", "verify"])
def test_a_directory_that_is_no_members_is_an_error(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["log", command, str(tmp_path / "nowhere")]) == 1
    captured = capsys.readouterr()
    assert str(tmp_path / "nowhere") in captured.out + captured.err
    assert not (tmp_path / "nowhere").exists()

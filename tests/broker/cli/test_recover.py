"""`sybline recover`: what the dry run says, and what it takes to go on."""

import re
from pathlib import Path

import pytest

from sybline.cli.main import main
from sybline.replication.configuration import (
    encode_configuration,
    static_configuration,
    with_cluster_uid,
)
from sybline.replication.files import RealFiles
from sybline.replication.journal import COMMAND, CONFIGURATION, Entry, Journal, JournalOptions
from sybline.replication.survey import survey

CONFIGURATION_OF_FIVE = with_cluster_uid(static_configuration(range(1, 6)), 0xC0FFEE)
COMMAND_LINE = re.compile(r"^  sybline (recover .* --i-accept-data-loss [0-9a-f]+)$", re.MULTILINE)


def store(directory: Path, member: int, *, entries: int, term: int = 3) -> str:
    """Store the log of a member of five and return its directory."""
    journal = Journal.open(
        directory, cluster_id="shop", member=member, options=JournalOptions(segment_bytes=65_536)
    )
    journal.set_vote(term, None)
    journal.set_cluster_uid(CONFIGURATION_OF_FIVE.cluster_uid)
    payload = encode_configuration(CONFIGURATION_OF_FIVE)
    journal.append([Entry(1, 1, CONFIGURATION, payload)])
    journal.append([Entry(n, term, COMMAND, b"x") for n in range(2, entries + 1)])
    journal.sync()
    journal.close()
    return str(directory)


def test_the_dry_run_shows_each_survivor_what_is_lost_and_how_to_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = store(tmp_path / "one", 1, entries=1_200)
    two = store(tmp_path / "two", 2, entries=1_100)
    assert main(["recover", one, two]) == 0
    shown = capsys.readouterr().out
    assert shown.splitlines()[:3] == [
        f"{one}: member 1 of cluster shop, 0000000000c0ffee",
        "  term 3; last entry 1,200 of term 3; checkpoint at 0",
        "  configuration 1: 1, 2, 3, 4, 5",
    ]
    assert "voters in the latest configuration: 5, the quorum is 3, here: 2" in shown
    assert "The longest log is that of member 1: it ends at entry 1,200 of term 3." in shown
    assert "acknowledged after entry 1,200 is lost" in shown
    assert "entries 1 to 1,200 count as done" in shown
    [command] = COMMAND_LINE.findall(shown)
    assert command.startswith(f"recover {one} {two} --make-sole-voter {one} ")


def test_the_command_that_is_shown_recovers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = store(tmp_path / "one", 1, entries=12)
    assert main(["recover", one]) == 0
    [command] = COMMAND_LINE.findall(capsys.readouterr().out)
    assert main(command.split()) == 0
    assert "done: member 1 is the only member of the new cluster" in capsys.readouterr().out
    assert survey(RealFiles(), tmp_path / "one").configuration.ids == (1,)
    assert main(command.split()) == 1
    assert "1 of 1 voters are here, a majority" in capsys.readouterr().err


def test_without_the_token_nothing_is_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = store(tmp_path / "one", 1, entries=12)
    before = survey(RealFiles(), tmp_path / "one")
    for token in ([], ["--i-accept-data-loss", "yes, gewiß"]):
        assert main(["recover", one, "--make-sole-voter", one, *token]) == 1
        [line] = capsys.readouterr().err.splitlines()
        assert line.startswith("sybline: the token does not fit")
    assert survey(RealFiles(), tmp_path / "one") == before


def test_who_is_to_go_on_must_be_among_the_survivors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = store(tmp_path / "one", 1, entries=12)
    assert main(["recover", one, "--make-sole-voter", str(tmp_path / "two")]) == 2
    assert "is not among the directories" in capsys.readouterr().err


def test_a_majority_is_to_be_started(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directories = [store(tmp_path / str(n), n, entries=10 + n) for n in (1, 2, 3)]
    assert main(["recover", *directories]) == 0
    shown = capsys.readouterr().out
    assert "A majority is here, so nothing is lost: start these members" in shown
    assert not COMMAND_LINE.findall(shown)


@pytest.mark.parametrize("kind", ["missing", "empty", "foreign"])
def test_a_directory_that_is_no_members_is_one_line(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "data"
    if kind != "missing":
        path.mkdir()
    if kind == "foreign":
        (path / "IDENTITY").write_text("something else")
    assert main(["recover", str(path)]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"sybline: {path}")

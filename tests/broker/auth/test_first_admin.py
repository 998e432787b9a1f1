"""The file with the first administrator's generated password."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sybline.auth.first_admin import load_or_create_password_file


def test_the_file_is_created_once_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "new" / "admin-password"
    previous = os.umask(0)
    try:
        password = load_or_create_password_file(path)
    finally:
        os.umask(previous)
    assert len(password) >= 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text() == f"{password}\n"
    assert load_or_create_password_file(path) == password
    assert list(path.parent.iterdir()) == [path]


def test_two_files_hold_different_passwords(tmp_path: Path) -> None:
    assert load_or_create_password_file(tmp_path / "a") != load_or_create_password_file(
        tmp_path / "b"
    )


def test_members_that_start_at_once_agree_on_one_password(tmp_path: Path) -> None:
    path = tmp_path / "admin-password"
    with ThreadPoolExecutor(8) as pool:
        passwords = set(pool.map(load_or_create_password_file, [path] * 50))
    assert len(passwords) == 1
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("written", ["given", "given\n", "given\r\n"])
def test_a_given_file_is_read_without_its_line_break(tmp_path: Path, written: str) -> None:
    path = tmp_path / "admin-password"
    path.write_bytes(written.encode())
    assert load_or_create_password_file(path) == "given"


@pytest.mark.parametrize("content", [b"", b"\n", b"x" * 1025, b"\xff\xfe"])
def test_a_file_without_a_usable_password_is_refused_by_name(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "admin-password"
    path.write_bytes(content)
    with pytest.raises(OSError, match=r"does not hold .* 1024 bytes .*admin-password"):
        load_or_create_password_file(path)
    assert path.read_bytes() == content


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    occupied = tmp_path / "file"
    occupied.write_text("x")
    with pytest.raises(OSError, match="file"):
        load_or_create_password_file(occupied / "admin-password")

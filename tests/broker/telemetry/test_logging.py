"""The log: one JSON object a line whatever is logged, and no secrets."""

import io
import json
import logging
import sys
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import structlog

from sybline.telemetry.logging import WITHHELD, configure_logging


class Lines(io.StringIO):
    """What was logged."""

    def all(self) -> list[dict[str, Any]]:
        text = self.getvalue()
        assert text == "" or text.endswith("\n")
        return [json.loads(line) for line in text.splitlines()]

    def last(self) -> dict[str, Any]:
        return self.all()[-1]


@pytest.fixture
def lines() -> Iterator[Lines]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = Lines()
    configure_logging(level="info", member=2, stream=stream)
    yield stream
    logging.captureWarnings(False)
    root.handlers[:] = handlers
    root.setLevel(level)
    for name in ("asyncio", "grpc", "uvicorn"):
        logging.getLogger(name).setLevel(logging.NOTSET)
    structlog.reset_defaults()


def test_an_event_is_one_line_with_its_name_its_fields_and_where_it_is_from(lines: Lines) -> None:
    structlog.get_logger("sybline.replication.engine").info("leader_changed", leader=3, term=7)
    line = lines.last()
    assert datetime.fromisoformat(line.pop("timestamp")).tzinfo == UTC
    assert line == {
        "event": "leader_changed", "leader": 3, "term": 7, "level": "info",
        "logger": "sybline.replication.engine", "member": 2,
    }  # fmt: skip


def test_what_is_below_the_level_is_not_logged(lines: Lines) -> None:
    structlog.get_logger("x").debug("peer_unreachable")
    logging.getLogger("x").debug("detail")
    logging.getLogger("asyncio").info("its own doings")
    logging.getLogger("uvicorn.error").info("its own doings")
    assert lines.all() == []


def test_the_level_can_be_lowered_and_the_last_configuration_counts(lines: Lines) -> None:
    second = Lines()
    configure_logging(level="DEBUG", member=None, stream=second)
    structlog.get_logger("x").debug("peer_unreachable")
    assert lines.all() == []
    assert second.last()["event"] == "peer_unreachable"
    assert "member" not in second.last()


def test_libraries_log_in_the_same_form(lines: Lines) -> None:
    logging.getLogger("uvicorn.error").warning("Invalid %s request\nreceived.", "HTTP")
    assert lines.last()["event"] == "Invalid HTTP request\nreceived."
    assert (lines.last()["logger"], lines.last()["level"]) == ("uvicorn.error", "warning")
    assert lines.last()["member"] == 2


def test_nothing_breaks_a_line(lines: Lines) -> None:
    for text in ("a\nb", "a\r\nb", "a\u2028b", 'a"}\n{"event": "forged"', "\x00", "\udc80"):
        structlog.get_logger("x").info("peer_refused", reason=text)
        assert lines.last()["reason"] == text
    assert len(lines.getvalue().splitlines()) == 6


def test_an_error_brings_its_traceback_in_one_field(lines: Lines) -> None:
    for log in (structlog.get_logger("x"), logging.getLogger("y")):
        try:
            raise ValueError("no such thing")
        except ValueError:
            log.exception("task_failed")
        assert lines.last()["event"] == "task_failed"
        assert "test_logging.py" in lines.last()["exception"]
        assert lines.last()["exception"].endswith("ValueError: no such thing")
    assert len(lines.all()) == 2


def test_warnings_are_events(lines: Lines) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn("old setting", DeprecationWarning, stacklevel=1)
    assert "old setting" in lines.last()["event"]


@pytest.mark.parametrize(
    "name",
    ["password", "old_password", "token", "syb-token", "secret", "pepper", "SALT", "authorization",
     "credentials", "body", "bodies", "payload", "data"],
)  # fmt: skip
def test_a_field_named_like_a_secret_or_a_body_is_withheld(lines: Lines, name: str) -> None:
    for value in ("hunter2", b"hunter2", ["hunter2"], ("hunter2",)):
        structlog.get_logger("x").info("event", **{name: value})
        assert "hunter2" not in lines.getvalue()
        assert lines.last()[name] == WITHHELD
    structlog.get_logger("x").info("event", nested={"deep": {name: "hunter2"}})
    assert "hunter2" not in lines.getvalue()


def test_sizes_times_and_places_are_no_secrets(lines: Lines) -> None:
    structlog.get_logger("x").info(
        "event", token_ms=1800, password_file=Path("/run/admin"), data_dir="/data", body_bytes=7
    )
    assert lines.last()["token_ms"] == 1800
    assert lines.last()["password_file"] == "/run/admin"
    assert lines.last()["data_dir"] == "/data"
    assert lines.last()["body_bytes"] == 7


def test_objects_are_named_and_not_shown(lines: Lines) -> None:
    class Command:
        def __repr__(self) -> str:
            return "Command(password='hunter2')"

    structlog.get_logger("x").info("event", one=Command(), two=b"hunter2", three=OSError("full"))
    line = lines.last()
    assert (line["one"], line["two"], line["three"]) == ("<Command>", "<7 bytes>", "full")


def test_the_real_stream_is_written_at_once(
    capfd: pytest.CaptureFixture[str], lines: Lines
) -> None:
    configure_logging(level="info", member=1, stream=sys.stderr)
    structlog.get_logger("x").info("member_started")
    assert json.loads(capfd.readouterr().err)["event"] == "member_started"

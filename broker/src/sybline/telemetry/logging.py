"""The log: one JSON object a line, UTC, for our own events and for those of the libraries we use.

Owns the format and what must never be in it. Fields named like secrets or bodies are withheld here as a safety net; who
logs does not put them in to begin with.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Final, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

WITHHELD: Final = "[withheld]"
_SECRET_WORDS: Final = frozenset(
    {
        *("password", "passwords", "secret", "secrets", "token", "tokens", "pepper", "salt"),
        *("credential", "credentials", "authorization", "cookie"),
        *("body", "bodies", "payload", "data"),
    }
)
_HARMLESS_ENDINGS: Final = ("_file", "_path", "_dir")  # names of places, not what lies there
_QUIET_LIBRARIES: Final = ("asyncio", "grpc", "uvicorn")  # their own doings interest nobody


def configure_logging(*, level: str, member: int | None, stream: TextIO) -> None:
    """Send everything from `level` on to `stream`; `member` stands in every line, None: not a member.

    Replaces what was configured before. Warnings of Python and of libraries go the same way.
    """
    shared = _processors(member)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                withhold_secrets,
                structlog.processors.JSONRenderer(default=_describe),
            ],
        )
    )
    logging.getLogger().handlers[:] = [handler]
    set_level(level)
    logging.captureWarnings(True)


def set_level(level: str) -> None:
    """Log everything from `level` on from now on; no logger is cached, so all follow."""
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(number))
    logging.getLogger().setLevel(number)
    for name in _QUIET_LIBRARIES:
        logging.getLogger(name).setLevel(max(number, logging.WARNING))


def _processors(member: int | None) -> list[Processor]:
    def add_member(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        if member is not None:
            event.setdefault("member", member)
        return event

    return [
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        add_member,
        structlog.processors.format_exc_info,
    ]


def withhold_secrets(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Replace the values of fields whose names say that they do not belong into a log."""
    return {name: _shown(name, value) for name, value in event.items()}


def _shown(name: str, value: object) -> object:
    if isinstance(value, Mapping):
        return {str(key): _shown(str(key), inner) for key, inner in value.items()}
    if isinstance(value, bool | int | float | None) or not _is_secret(name):
        return value
    return WITHHELD


def _is_secret(name: str) -> bool:
    lowered = name.lower().replace("-", "_")
    if lowered.endswith(_HARMLESS_ENDINGS):
        return False
    return not _SECRET_WORDS.isdisjoint(lowered.split("_"))


def _describe(value: object) -> str:
    """Return what JSON has no form for: never the contents of an object, which may hold anything."""
    match value:
        case Path() | BaseException():
            return str(value)
        case bytes() | bytearray() | memoryview():
            return f"<{len(value)} bytes>"
    return f"<{type(value).__name__}>"

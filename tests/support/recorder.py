"""A stand-in for a future that takes one outcome and remembers it."""

from typing import Generic, TypeVar

from sybline.errors import SyblineError

T = TypeVar("T")


class Recorder(Generic[T]):
    """An answer that must be given at most once."""

    def __init__(self) -> None:
        self.outcome: T | SyblineError | None = None

    def done(self) -> bool:
        """Return whether there is an outcome."""
        return self.outcome is not None

    def set_result(self, result: T, /) -> None:
        """Take a result as the outcome."""
        assert self.outcome is None
        self.outcome = result

    def set_exception(self, exception: SyblineError, /) -> None:
        """Take an error as the outcome."""
        assert self.outcome is None
        self.outcome = exception

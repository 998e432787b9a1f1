"""A change of the product's source while it runs: how a rule of it is switched off for a test.

Which rules there are stands in `mutation_table.py`.
"""

import inspect
import textwrap
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import FunctionType
from typing import Any

USUAL = (
    "power",
    "crashes",
    "snapshots",
    "elections",
    "divergent",
    "partitions",
    "late",
    "everything",
)


@dataclass(frozen=True)
class Change:
    """Another text in a function of the product. A text that is no longer there is an error: the table cannot rot."""

    owner: Any  # class or module
    function: str
    text: str
    replacement: str

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Change the function itself, so that it is changed wherever it was imported to."""
        found = inspect.getattr_static(self.owner, self.function)
        original: FunctionType = found.fget if isinstance(found, property) else found
        source = textwrap.dedent(inspect.getsource(original))
        if source.count(self.text) != 1:
            raise LookupError(f"{self.text!r} is not once in {self.function}")
        scope: dict[str, Any] = {}
        changed = source.replace(self.text, self.replacement)
        exec(compile(changed, f"<{self.function}, changed>", "exec"), original.__globals__, scope)
        replacement = scope[self.function]
        if isinstance(replacement, property):
            replacement = replacement.fget
        before, original.__code__ = original.__code__, replacement.__code__
        try:
            yield
        finally:
            original.__code__ = before


@dataclass(frozen=True)
class Mutation:
    """One rule, switched off."""

    rule: str
    changes: tuple[Change, ...]
    configurations: tuple[str, ...] = USUAL

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Run the product without the rule."""
        with ExitStack() as stack:
            for change in self.changes:
                stack.enter_context(change.applied())
            yield


def off(owner: Any, function: str, text: str, replacement: str = "pass") -> tuple[Change, ...]:
    """Return a mutation's only change."""
    return (Change(owner, function, text, replacement),)

"""The table of promises and the tests agree, both ways."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.promises import LATER, PROMISES, REGRESSIONS

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent
REGRESSION = re.compile(r"[abkqrsw]\d{1,2}[a-e]?")


def names_in(path: Path) -> set[str]:
    """Return the test functions of a file, and what it assigns at top level (Hypothesis machines)."""
    names: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names.update(target.id for target in node.targets if isinstance(target, ast.Name))
    return names


def regressions_named() -> Iterator[str]:
    for path in TESTS.rglob("test_*.py"):
        for name in names_in(path):
            words = name.removeprefix("test_reg_").split("_")
            if not name.startswith("test_reg_"):
                continue
            for word in words:
                if REGRESSION.fullmatch(word):
                    yield word
                elif word != "and":
                    break


def test_the_readme_and_the_table_make_the_same_promises() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    table = readme.partition("## What it promises")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (?!promise |---)([^|]+?) \|", table, flags=re.MULTILINE)
    assert sorted(rows) == sorted(PROMISES)


@pytest.mark.parametrize("promise", sorted(PROMISES))
def test_every_promise_has_tests_that_exist(promise: str) -> None:
    assert PROMISES[promise]
    for test in PROMISES[promise]:
        path, _, name = test.partition("::")
        assert name in names_in(TESTS / path), test


def test_every_known_defect_is_a_named_test() -> None:
    named = set(regressions_named())
    assert sorted(REGRESSIONS - named) == []
    assert sorted(named - REGRESSIONS - set(LATER)) == []


def test_no_defect_is_both_covered_and_put_off() -> None:
    assert REGRESSIONS.isdisjoint(LATER)

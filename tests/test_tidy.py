"""Rules about the repository itself: what a reviewer would otherwise have to remember."""

import ast
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FUNCTION_LINES_REPORTED = 60


def tracked(*patterns: str) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [ROOT / line for line in listed.stdout.splitlines() if (ROOT / line).exists()]


def own_modules() -> list[Path]:
    return [p for p in tracked("*.py") if "/sybline/v1/" not in str(p)]


def test_no_init_file_shadows_the_standard_library() -> None:
    forbidden = [ROOT / "operator/__init__.py", ROOT / "broker/__init__.py"]
    found = [p for p in forbidden if p.exists()] + list((ROOT / "tests").rglob("__init__.py"))
    assert found == []


def test_every_module_says_what_it_owns() -> None:
    silent = []
    for path in own_modules():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if tree.body and ast.get_docstring(tree) is None:
            silent.append(str(path.relative_to(ROOT)))
    assert silent == []


def test_every_cited_decision_exists() -> None:
    numbers = {p.name[:4] for p in (ROOT / "docs/adr").glob("*.md")}
    missing = [
        (str(path.relative_to(ROOT)), number)
        for path in tracked("*.py", "*.md", "Makefile", "*.toml")
        for number in re.findall(r"ADR-(\d{4})", path.read_text(encoding="utf-8"))
        if number not in numbers
    ]
    assert missing == []


def test_every_document_is_linked_from_another() -> None:
    texts = {p: p.read_text(encoding="utf-8") for p in tracked("*.md")}
    adr_is_a_list = ROOT / "docs/adr"
    orphans = [
        str(path.relative_to(ROOT))
        for path in texts
        if path.is_relative_to(ROOT / "docs") and path.parent != adr_is_a_list
        and not any(path.name in text for other, text in texts.items() if other != path)
    ]  # fmt: skip
    assert orphans == []


def test_every_link_between_documents_leads_somewhere() -> None:
    broken = []
    for path in tracked("*.md"):
        for target in re.findall(r"\]\(([^)#\s]+)", path.read_text(encoding="utf-8")):
            if "://" not in target and not (path.parent / target).exists():
                broken.append((str(path.relative_to(ROOT)), target))
    assert broken == []


def test_unfinished_work_is_not_left_in_the_code() -> None:
    words = re.compile(
        r"\b(TODO|FIXME|XXX)\b|pytest\.(skip|xfail)|mark\.(skip|xfail)\b|NotImplementedError"
    )
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in own_modules()
        if path != Path(__file__)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if words.search(line)
    ]
    assert found == []


def test_broad_excepts_stand_only_at_the_named_edges() -> None:
    edges = {
        "broker/src/sybline/api/handlers.py",
        "broker/src/sybline/state_machine/machine.py",
    }
    found = []
    for path in own_modules():
        name = str(path.relative_to(ROOT))
        if not name.startswith("broker/src") or name in edges:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ExceptHandler) and (
                node.type is None
                or (
                    isinstance(node.type, ast.Name)
                    and node.type.id in {"Exception", "BaseException"}
                )
            ):
                found.append(f"{name}:{node.lineno}")
    assert found == []


def test_the_pinned_library_is_the_one_the_overrides_were_checked_against() -> None:
    pin = re.search(r"pysyncobj==([\d.]+)", (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    quirks = (ROOT / "broker/src/sybline/replication/quirks.py").read_text(encoding="utf-8")
    assert pin is not None
    assert f'"{pin.group(1)}"' in quirks


@pytest.mark.parametrize("lock", ["broker", "operator", "dev", "build"])
def test_locks_have_hashes_and_no_addresses(lock: str) -> None:
    text = (ROOT / f"requirements/{lock}.txt").read_text(encoding="utf-8")
    assert "--hash=sha256:" in text
    assert "://" not in text


def test_long_functions_are_reported(record_property: Callable[[str, object], None]) -> None:
    """Not a limit: the list is for the reviewer."""
    rows = []
    for path in own_modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > FUNCTION_LINES_REPORTED:
                    rows.append((lines, f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"))
    for lines, where in sorted(rows, reverse=True):
        print(f"{lines} lines: {where}")
    record_property("long_functions", len(rows))

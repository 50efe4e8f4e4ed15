"""The packages: which may import which, and how much lies in one folder."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
KNOWN = {  # package -> those it may import
    "runtime": set(),
    "search": {"runtime"},
    "taxi": {"search", "runtime"},
    "provenance": {"search", "runtime"},
    "steps": {"taxi", "provenance", "search", "runtime"},
}
FOREIGN = {"taxi": {"mlflow", "click"}, "search": {"mlflow", "click"}, "runtime": {"mlflow", "click"}}
EXCEPTIONS: set[tuple[str, str]] = set()  # (file, module) that break the rule, each with a reason


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path} imports by a relative name"
            yield node.module


@pytest.mark.parametrize("package", KNOWN)
def test_imports_go_one_way(package):
    """steps -> {taxi, provenance} -> search -> runtime: else a change anywhere re-runs everything."""
    refused = (KNOWN.keys() - KNOWN[package] - {package}) | FOREIGN.get(package, set())
    found = {
        (path.relative_to(ROOT).as_posix(), module)
        for path in (ROOT / package).rglob("*.py")
        for module in imported(path)
        if module.partition(".")[0] in refused
    }
    assert found - EXCEPTIONS == set()


def test_no_test_file_imports_another():
    """What several share lies in tests/support."""
    for path in (ROOT / "tests").rglob("*.py"):
        assert not [name for name in imported(path) if name.rpartition(".")[2].startswith("test_")], path


def test_every_folder_of_tests_is_one_of_the_code():
    """tests/ mirrors the packages; tests/workflow holds what runs all of them, tests/support what tests share."""
    folders = {path.parent.relative_to(ROOT / "tests").as_posix() for path in (ROOT / "tests").rglob("test_*.py")}
    assert [folder for folder in sorted(folders - {"."}) if folder != "workflow" and not (ROOT / folder).is_dir()] == []

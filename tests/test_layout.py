"""The packages: which may import which, and how much lies in one folder."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.project import ROOT

KNOWN = {  # package -> those it may import
    "runtime": set(),
    "search": {"runtime"},
    "taxi": {"search", "runtime"},
    "provenance": {"search", "runtime"},
    "steps": {"taxi", "provenance", "search", "runtime"},
}
FOREIGN = {"taxi": {"mlflow", "click"}, "search": {"mlflow", "click"}, "runtime": {"mlflow", "click"}}
EXCEPTIONS: set[tuple[str, str]] = set()  # (file, module) that break the rule, each with a reason


TEST_FILES = sorted((ROOT / "tests").rglob("*.py"))


def module_name(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")


TEST_MODULES = {module_name(path) for path in TEST_FILES if path.name != "__init__.py"}


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


def imported_tests(path: Path) -> set[str]:
    """The modules below tests/ that a file imports, or runs as a program."""
    found = set(re.findall(r"\btests(?:\.\w+)+", path.read_text()))
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found & TEST_MODULES - {module_name(path)}


def test_no_test_file_imports_another():
    """What several share lies in tests/support; fixtures come by name."""
    tests = {name for name in TEST_MODULES if not name.startswith("tests.support")}
    for path in TEST_FILES:
        assert imported_tests(path) & tests == set(), path


def test_what_tests_share_is_used_by_one():
    """By itself or by another file of tests/support."""
    used = set().union(*map(imported_tests, TEST_FILES))
    assert {name for name in TEST_MODULES if name.startswith("tests.support.")} - used == set()


def test_every_folder_of_tests_is_one_of_the_code():
    """tests/ mirrors the packages; tests/workflow holds what runs all of them, tests/support what tests share."""
    folders = {path.parent.relative_to(ROOT / "tests").as_posix() for path in (ROOT / "tests").rglob("test_*.py")}
    assert [folder for folder in sorted(folders - {"."}) if folder != "workflow" and not (ROOT / folder).is_dir()] == []


@pytest.mark.parametrize("package", [package for package in KNOWN if package != "steps"])
def test_a_test_lies_with_what_it_tests(package):
    """It imports its own package, or runs the project from outside; of steps all do that, or take data from taxi."""
    for path in (ROOT / "tests" / package).rglob("test_*.py"):
        packages = {module.partition(".")[0] for module in imported(path)} & KNOWN.keys()
        assert not packages or package in packages, path


def test_the_engine_knows_no_project():
    """It is for any: what it would have to know, a project declares."""
    words = re.compile("taxi|month|tlc", re.I)
    files = [path for package in ("provenance", "search", "runtime") for path in (ROOT / package).rglob("*")]
    texts = {path: path.read_text() for path in files if path.suffix in (".py", ".html", ".json")}
    assert {path: words.findall(text) for path, text in texts.items() if words.search(text)} == {}

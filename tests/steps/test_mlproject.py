"""MLproject, the commands and the README say the same."""

import importlib
import re
import shlex

import click
import pytest
import yaml

from tests.support.project import ROOT

PROJECT = yaml.safe_load((ROOT / "MLproject").read_text())
ENTRY_POINTS = PROJECT["entry_points"]


def command_of(entry_point: str) -> click.Command:
    return getattr(importlib.import_module(f"steps.{entry_point}"), entry_point.replace("-", "_"))


def words(entry_point: str) -> list[str]:
    return shlex.split(ENTRY_POINTS[entry_point]["command"])


@pytest.mark.parametrize("entry_point", ENTRY_POINTS)
def test_every_declared_parameter_reaches_the_command(entry_point):
    """A declared parameter that the command leaves out would be logged and never delivered."""
    given = words(entry_point)
    assert given[:3] == ["PYTHONSAFEPATH=", "PYTHONUTF8=1", "exec"]
    given = given[3:]
    assert given[:3] == ["python", "-m", f"steps.{entry_point}"]
    pairs = dict(zip(given[3::2], given[4::2], strict=True))
    assert pairs == {f"--{name.replace('_', '-')}": f"{{{name}}}" for name in ENTRY_POINTS[entry_point]["parameters"]}


@pytest.mark.parametrize("entry_point", ENTRY_POINTS)
def test_commands_and_mlproject_declare_the_same_parameters_and_defaults(entry_point):
    """Defaults that drift between MLproject and click give two different projects."""
    declared = {name: str(spec["default"]) for name, spec in ENTRY_POINTS[entry_point]["parameters"].items()}
    command = command_of(entry_point)
    options = {option.name: option for option in command.params}
    assert declared.keys() == options.keys()
    context = click.Context(command)
    for name, option in options.items():
        assert option.type_cast_value(context, declared[name]) == option.type_cast_value(context, option.default), name


@pytest.mark.parametrize("entry_point", ENTRY_POINTS)
def test_help_names_every_parameter(entry_point):
    """`python -m steps.<name> --help` answers for every parameter."""
    text = command_of(entry_point).get_help(click.Context(command_of(entry_point)))
    for name in ENTRY_POINTS[entry_point]["parameters"]:
        assert f"--{name.replace('_', '-')}" in text


def test_no_default_is_empty_or_null():
    """MLflow logs '' as two quote characters and takes null for "required"."""
    for spec in ENTRY_POINTS.values():
        for parameter in spec["parameters"].values():
            assert parameter["default"] not in ("", None, "None")


def test_parameters_are_plain_types():
    """`path` downloads to folders nobody deletes, `uri` refuses absolute paths."""
    kinds = {parameter["type"] for spec in ENTRY_POINTS.values() for parameter in spec["parameters"].values()}
    assert kinds <= {"string", "int", "float"}


def test_conda_yaml_changes_with_the_lock():
    """MLflow names a conda environment by the text of conda.yaml alone: it carries the lock's digest."""
    import hashlib

    digest = hashlib.sha256((ROOT / "requirements.lock").read_bytes()).hexdigest()
    assert f"# requirements.lock sha256: {digest}\n" in (ROOT / "conda.yaml").read_text()


def test_direct_dependencies_are_pinned_as_locked():
    """The readable pins in conda.yaml are those of the lock."""
    direct = re.findall(r"(?m)^ *#: (\S+)$", (ROOT / "conda.yaml").read_text())
    locked = (ROOT / "requirements.lock").read_text()
    assert len(direct) >= 8
    for pin in direct:
        assert re.search(rf"(?m)^{re.escape(pin)} ", locked), pin


def test_what_the_code_imports_is_pinned_directly():
    """A package that comes along with another goes with it, too."""
    import ast
    import sys
    from importlib.metadata import packages_distributions

    imported = set()
    for path in (
        path
        for package in ("steps", "taxi", "provenance", "search", "runtime")
        for path in (ROOT / package).rglob("*.py")
    ):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                imported.add(node.module.partition(".")[0])
    foreign = imported - set(sys.stdlib_module_names) - {"steps", "taxi", "provenance", "search", "runtime"}
    pinned = set(re.findall(r"(?m)^ *#: ([\w-]+)==", (ROOT / "conda.yaml").read_text()))
    distributions = packages_distributions()
    assert {name for name in foreign if not pinned & {each.lower() for each in distributions[name]}} == set()


def test_every_locked_package_has_hashes():
    """One line without a hash is installed unchecked by uv and refused by pip."""
    lock = (ROOT / "requirements.lock").read_text()
    assert lock.startswith("--require-hashes\n")
    entries = re.split(r"\n(?=\S)", lock.removeprefix("--require-hashes\n").strip())
    assert len(entries) > 50
    assert all("--hash=sha256:" in entry for entry in entries)


def test_python_is_pinned_exactly():
    """Ranges and prefixes make MLflow fall back to the launcher's Python."""
    conda = yaml.safe_load((ROOT / "conda.yaml").read_text())
    assert re.fullmatch(r"python=\d+\.\d+\.\d+", conda["dependencies"][0])

"""What the README and the documentation tell people to type is there."""

import re
from pathlib import Path

import pytest
import yaml

from tests.support import documented
from tests.support.project import ROOT

PAGES = [*(ROOT / page for page in documented.PAGES), ROOT / "benchmarks" / "RESULTS.md"]
ENTRY_POINTS = yaml.safe_load((ROOT / "MLproject").read_text())["entry_points"]
TARGETS = set(re.findall(r"(?m)^([a-z]+):", (ROOT / "Makefile").read_text()))


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_name_entry_points_and_parameters_that_there_are(page):
    """A parameter that MLproject does not declare ends in "No such option"."""
    for command in re.findall(r"mlflow run [^\n`]*", page.read_text().replace("\\\n", " ")):
        entry_point = (re.findall(r" -e (\w+)", command) or ["main"])[0]
        assert entry_point in ENTRY_POINTS, command
        given = re.findall(r" -P (\w+)=", command)
        assert set(given) <= set(ENTRY_POINTS[entry_point]["parameters"]), command


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_work_with_and_without_conda(page):
    """By the launcher of `make setup`, which finds out itself; any other `mlflow run` has to name its manager."""
    text = page.read_text().replace("\\\n", " ")
    typed = [command.text for command in documented.commands(text)]
    inline = re.findall(r"`(\S*mlflow run [^`\n]+ -[^`\n]+)`", documented.BLOCK.sub("", text))
    for line in [*typed, *inline]:
        if "mlflow run " in line:
            assert ".venv/bin/mlflow run " in line or "--env-manager " in line, line


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_the_pinned_mlflow_is_the_one_that_is_named(page):
    """`pip install mlflow==...` is the version that conda.yaml pins."""
    pinned = re.findall(r"#: mlflow==(\S+)", (ROOT / "conda.yaml").read_text())
    assert set(re.findall(r"pip install mlflow==([\w.]+)", page.read_text())) <= set(pinned)


def test_zones_of_examples_are_in_the_embedded_city():
    """A trip between other zones is answered without knowing where they lie: the same for any distance."""
    from taxi.city.streets import city

    zones = set(city().zone_ids.tolist())
    for page in ("README.md", "docs/use.md", "docs/tutorial.md"):
        asked = re.findall(r'"(?:PU|DO)LocationID": \[?(\d+)', (ROOT / page).read_text())
        assert asked and set(map(int, asked)) <= zones, page


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_make_targets_are_there(page):
    """`make` says "No rule to make target" to any other."""
    code = re.findall(r"```.*?```|`[^`\n]+`", page.read_text(), re.S)
    used = {target for part in code for target in re.findall(r"(?:^|\$ |`)make ([a-z]+)", part, re.M)}
    assert used <= TARGETS


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page):
    """Pictures and pages beside this one."""
    for link in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
        assert "://" in link or (page.parent / link).exists(), link


def test_pages_that_messages_name_are_there():
    """With their headings: a message that leads nowhere is worse than none."""
    found = {
        match.groups()
        for package in ("provenance", "runtime", "search", "steps", "taxi")
        for path in (ROOT / package).rglob("*.py")
        for match in re.finditer(r"docs/([\w-]+\.md)(?:#([\w-]+))?", path.read_text())
    }
    assert ("faq.md", "the-store") in found
    for page, heading in found:
        headings = re.findall(r"(?m)^#+ (.+)$", (ROOT / "docs" / page).read_text())
        assert heading is None or heading in [text.lower().replace(" ", "-") for text in headings], (page, heading)


def test_every_entry_point_is_in_the_readmes_table():
    """The table is where people look for what there is."""
    table = set(re.findall(r"(?m)^\| `(\w+)` \|", (ROOT / "README.md").read_text()))
    assert table >= set(ENTRY_POINTS)


def test_parameters_of_the_readmes_table_have_those_defaults():
    """A default that moved on would send people the wrong way."""
    declared = {name: str(spec["default"]) for name, spec in ENTRY_POINTS["main"]["parameters"].items()}
    section = (ROOT / "README.md").read_text().split("| parameter | default | |")[1].split("\n\n")[0]
    rows = re.findall(r"(?m)^\| ([^|]+) \| ([^|]+) \|", section)
    shown = {
        parameter.strip("` "): default.strip("` ")
        for parameters, defaults in rows[1:]
        for parameter, default in zip(parameters.split(","), defaults.split(","), strict=True)
    }
    assert len(shown) > 8
    assert shown == {parameter: declared[parameter] for parameter in shown}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_tests_that_are_named_are_there(page):
    """pytest runs nothing for a file or word that no test has, and says so only to who tries it."""
    for words in re.findall(r"`(?:pytest|\S+python -m pytest) ([^`]*)`", page.read_text()):
        files = re.findall(r"tests/[\w/]+\.py", words)
        assert all((ROOT / file).is_file() for file in files), words
        texts = "".join((ROOT / file).read_text() for file in files)
        for chosen in re.findall(r'-k (?:"([^"]+)"|(\S+))', words):
            assert all(word in texts for word in "".join(chosen).split(" or ")), words

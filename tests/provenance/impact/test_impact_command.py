"""The entry point: what it prints, writes, publishes and refuses."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest
from click.testing import CliRunner, Result

from provenance.record import names
from provenance.record.lineage import Input
from provenance.store.project_identity import identity
from steps.impact import impact
from tests.support.bulk_store import BulkStore, sha
from tests.support.impact_store import NAME, ImpactStore, Truth, month_digest
from tests.support.project import ROOT

HOSTILE = "<img src=http://evil.example/x>\x1b[31m|`[l](u)\u202e"


@pytest.fixture
def store(client, tmp_path) -> BulkStore:
    return BulkStore(tmp_path / "mlflow.db", tmp_path / "artifacts", project=identity(ROOT))


@pytest.fixture
def truth(store) -> Truth:
    return ImpactStore(store).fill(chains=20)


def ask(**params: object) -> Result:
    return CliRunner().invoke(impact, [word for name, value in params.items() for word in (f"--{name}", str(value))])


def printed(**params: object) -> list[str]:
    result = ask(**params)
    assert result.exit_code == 0, (result.output, result.exc_info)
    return result.stdout.splitlines()


class Page(HTMLParser):
    """What a browser would load or run, and the text that a person reads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.loaded, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.loaded += [value for name, value in attrs if name in ("src", "href", "onload", "data", "action")]

    def handle_data(self, data):
        self.text += data


def test_a_republished_month_is_one_command(truth, client, tmp_path):
    """Each content is answered; the last line is the plan that says what to run."""
    lines = printed(of="2023-01", out=tmp_path / "page.html")
    heads = [line for line in lines if line.startswith("file ")]
    assert [re.search(r"sha256 (\w{12})", line)[1] for line in heads] == sorted(
        month_digest("2023-01", edition)[:12] for edition in (1, 2)
    )
    counted = truth.of(f"file:{month_digest('2023-01', 1)}")
    assert any(f"{len(counted['dataset'])} datasets" in line for line in lines)
    assert lines[-1].startswith("what must be made anew: mlflow run . -e plan --experiment-name ")
    assert "-P source=tlc" in lines[-1]
    assert f"page {tmp_path}/page.html" in lines
    [run_id] = [line.removeprefix("run ") for line in lines if line.startswith("run ")]
    run = client.get_run(run_id)
    assert run.data.tags[names.IMPACT_OF] == "2023-01" and names.STEP not in run.data.tags
    assert {file.path for file in client.list_artifacts(run_id)} >= {"impact.html", "impact.json", "report.md"}


def test_json_is_all_of_stdout_and_has_every_item(truth):
    """Its fields are documented in docs/impact.md."""
    found = json.loads(ask(of=f"models:/{NAME}@champion", json=True).stdout)
    [subject] = found["subjects"]
    champion = next(uri for uri, held in truth.aliases.items() if "champion" in held)
    assert (found["of"], subject["kind"], subject["name"]) == (f"models:/{NAME}@champion", "version", champion)
    ids: dict[str, set[str]] = {}
    for item in subject["came_of_it"]:
        ids.setdefault(item["kind"], set()).add(item["id"])
    assert ids == truth.of(champion)
    documented = (ROOT / "docs" / "impact.md").read_text()
    for name in {*found, *subject, *subject["came_of_it"][0]}:
        assert f"`{name}`" in documented, name


def test_the_served_version_comes_first(truth, tmp_path):
    """Its run, too, leads to the plan."""
    champion = next(uri for uri, held in truth.aliases.items() if "champion" in held)
    digest = next(label for label in truth.labels("file:") if label in truth.from_[champion]).removeprefix("file:")
    lines = printed(of=digest, out=tmp_path / "page.html")
    assert f"  served now: {champion} (champion)" in lines
    assert next(line for line in lines if line.startswith("  version")).startswith(f"  version     {champion}  served,")
    page = Page((tmp_path / "page.html").read_text())
    assert f"served now: {champion} (champion)" in page.text
    assert f"version {champion.rpartition('/')[2]} champion{NAME}" in page.text  # a box of the graph


def test_what_others_wrote_reaches_neither_terminal_nor_page(store, tmp_path):
    """A user, a name and a place of a run with this project's mark."""
    month = Input("2023-01", HOSTILE, sha("month"))
    store.run("preprocess", [month], {"dataset": sha("a"), HOSTILE: (sha("b"), HOSTILE)}, user=HOSTILE)
    store.run("preprocess", [Input(HOSTILE, "tlc", sha("x"))], {"dataset": sha("c")}, params={"taxi": HOSTILE})
    store.write()
    lines = printed(of="2023-01", out=tmp_path / "page.html")
    assert all(line.isprintable() for line in lines) and sum(line.startswith("run ") for line in lines) == 1
    assert any(line.startswith("  dataset ") for line in lines)
    page = Page((tmp_path / "page.html").read_text())
    assert "img" not in page.tags and "script" not in page.tags and page.loaded == []
    assert "evil.example" in page.text
    printed(of=sha("x"), json=True)


def test_parameters_in_the_plan_are_quoted(store):
    """The line is there to be pasted into a shell."""
    params = {"train_months": "2023-01; touch /tmp/x $(id)", "unknown": "1"}
    store.run("preprocess", [Input("2023-01", "tlc", sha("m"))], {"dataset": sha("a")}, experiment="0", params=params)
    store.write()
    expected = "what must be made anew: mlflow run . -e plan -P 'train_months=2023-01; touch /tmp/x $(id)'"
    assert printed(of="2023-01")[-1] == expected


def test_a_circle_of_records_ends(store, tmp_path):
    """Two runs that say that each was made from the other."""
    a, b = store._next("run"), store._next("run")
    for one, other in ((a, b), (b, a)):
        read = [Input("dataset", f"runs:/{other}/dataset", sha(other)), Input("2023-01", "tlc", sha("m"))]
        store.run("preprocess", read, {"dataset": sha(one)}, run_id=one)
    store.write()
    assert "  came of it: 2 datasets" in printed(of="2023-01", out=tmp_path / "page.html")


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({}, "Give what to ask about: -P of="),
        ({"of": "2031-01"}, "of=2031-01 names nothing that a run of this project made or read"),
        ({"of": "2023-01", "out": "/tmp"}, "out=/tmp is no file of this machine"),
        ({"of": "2023-01", "out": "s3://bucket/page.html"}, "out=s3://bucket/page.html is no file of this machine"),
    ],
)
def test_a_mistake_is_one_clear_message(store, params, said):
    result = ask(**params)
    assert result.exit_code == 2 and f"Error: {said}" in result.stderr and "Traceback" not in result.output

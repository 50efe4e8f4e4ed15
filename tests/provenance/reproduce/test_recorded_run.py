"""Records as they are read: their order, and what of them is believed."""

from types import SimpleNamespace

import pytest

from provenance.pipeline.session import RunError, Session
from provenance.record import names, run_tags
from provenance.record.lineage import Input
from provenance.reproduce.recorded_run import RecordedRun, _check_tags, in_order, upstream
from provenance.reproduce.verdict import Made
from steps.pipeline import PIPELINE
from tests.support.records import RECORD, A, made

SEARCH, DATASET, REGISTER = "2" * 32, "1" * 32, "3" * 32


def runs(**above: str) -> dict[str, RecordedRun]:
    """Run id -> its record; `above` says which run each was made from."""
    return {
        run_id: RecordedRun(Made(run_id, RECORD, {}), {}, upstream={"input": (made_from, "x")} if made_from else {})
        for run_id, made_from in above.items()
    }


def test_a_run_comes_after_what_it_was_made_from():
    """Everything upstream is repeated first, each once."""
    known = runs(register="search", search="dataset", train="dataset", dataset="")
    order = in_order(["register", "train"], known.__getitem__, True)
    assert [original.run_id for original in order] == ["dataset", "search", "register", "train"]


def test_without_everything_only_the_wanted_are_repeated():
    """`depth=step` starts from recorded inputs; wanted runs still come in order."""
    known = runs(register="search", search="dataset", dataset="")
    assert [run.run_id for run in in_order(["register", "search"], known.__getitem__, False)] == ["search", "register"]


def test_a_record_that_leads_back_to_itself_is_refused():
    """A server may write any input."""
    known = runs(a="b", b="a")
    with pytest.raises(RunError, match="made from itself"):
        in_order(["a"], known.__getitem__, True)


def test_runs_that_reused_each_other_are_refused():
    """A server may write any tag."""
    reused = {"a": "b", "b": "a"}

    def get_run(run_id: str) -> SimpleNamespace:
        return SimpleNamespace(data=SimpleNamespace(tags={names.REUSED: reused[run_id]}))

    with pytest.raises(RunError, match="reused itself"):
        Session(PIPELINE, SimpleNamespace(get_run=get_run), None).hit("a")


def test_only_outputs_of_runs_are_upstream():
    """A folder is nobody's output."""
    inputs = (Input("search", f"runs:/{SEARCH}/search", A), Input("dataset", "/a/folder", A))
    assert upstream(made(inputs=inputs).lineage) == {"search": (SEARCH, "search")}


def test_tags_that_agree_with_the_record_pass():
    """As every run of this project writes them."""
    _check_tags(SEARCH, RECORD, {**RECORD.tags(), "mlflow.source.git.commit": "0" * 40, "mine": "a note"})


@pytest.mark.parametrize(
    "changed",
    [
        {names.COMMIT: "--upload-pack=touch pwned"},
        {run_tags.EARLIER_REMOTE: "ext::sh -c touch% pwned"},
        {names.KEY: "b" * 64},
        {run_tags.EARLIER_PARAM + "seed": "43"},
        {"mlflow.source.git.commit": "f" * 40},
        {run_tags.EARLIER_BRANCH: "a\nb"},
    ],
)
def test_tags_that_say_otherwise_are_refused(changed):
    """One of the two was changed after the run; the message is printable."""
    with pytest.raises(RunError, match="changed after the run") as refusal:
        _check_tags(SEARCH, RECORD, {**RECORD.tags(), **changed})
    assert all(line.isprintable() for line in str(refusal.value).split("\n"))

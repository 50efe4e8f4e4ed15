"""The first words of a run's page: links that lead along the chain."""

from dataclasses import replace

from provenance.record import run_page
from provenance.record.lineage import Input, Output
from tests.support.records import RECORD, A

UP, SELF, MAIN = "1" * 32, "2" * 32, "3" * 32


def head(**links) -> list[str]:
    return run_page.page(RECORD, "7", **links).split("\n\n")


def test_the_result_is_the_first_line_and_the_record_the_last():
    """MLflow folds a description after three lines."""
    parts = run_page.page(RECORD, "7", about=("RMSE **4.2 minutes**.", "The city is made up."), note="- a\n- b")
    lines = parts.split("\n\n")
    assert lines[0] == "RMSE **4.2 minutes**."
    assert lines[1].startswith("**train** · ")
    assert lines[2:4] == ["The city is made up.", "- a\n- b"]
    assert lines[4].startswith("| lineage&emsp; | |\n| --- | --- |\n")
    assert len(lines) == 5


def test_a_step_links_to_what_started_it_what_it_read_and_what_it_made():
    """The dataset leads to the run that made it, a logged model to its own page."""
    model = "models:/m-" + "4" * 32
    step = replace(RECORD, outputs=(Output("model", model, A), Output("version", "models:/nyc-taxi/3", A)))
    assert run_page.page(step, "7", parent=MAIN).split("\n\n")[0] == (
        f"**train** · started by [run 33333333](#/runs/{MAIN})"
        f" · made: [model](#/experiments/7/models/m-{'4' * 32}) · [nyc-taxi version 3](#/models/nyc-taxi/versions/3)"
        f" · from: [dataset](#/runs/{UP})"
    )


def test_a_chain_links_to_its_steps_and_its_version_and_a_reused_run_to_the_one_it_stands_for():
    """Not to everything that the steps made."""
    made = Output("hpo.search", f"runs:/{UP}/search", A), Output("register.version", "models:/nyc-taxi/3", A)
    chain = run_page.page(replace(RECORD, outputs=made), "7", steps={"preprocess": UP, "train": SELF}).split("\n\n")[0]
    assert f"steps: [preprocess](#/runs/{UP}) · [train](#/runs/{SELF})" in chain
    assert "made: [nyc-taxi version 3](#/models/nyc-taxi/versions/3) · from: " in chain
    assert head(reused=UP)[0].startswith(f"**train** · reused [run 11111111](#/runs/{UP}) · ")


def test_what_has_no_page_is_named_without_a_link():
    """Raw files lie on a disk or a server, and nobody's URI becomes markup."""
    hostile = Input("2023-01", "javascript:alert(1)", A), Input("2023-02", "runs:/../x](http://evil)", A)
    line = run_page.page(replace(RECORD, inputs=hostile), "7").split("\n\n")[0]
    assert line.endswith(" · from: 2023-01 · 2023-02")


def test_a_report_begins_with_its_result_and_links():
    """Then the report itself."""
    link = run_page.artifact_link("7", SELF, "report.md")
    assert run_page.report_page("**identical**", [link, run_page.run_link(UP)], "| a |").split("\n\n") == [
        "**identical**",
        f"[report.md](#/experiments/7/runs/{SELF}/artifacts/report.md) · [run 11111111](#/runs/{UP})",
        "| a |",
    ]


def test_tables_have_a_gap_between_their_columns_and_nothing_else_changes():
    """A pipe inside a cell ends none."""
    table = "a | b\n\n| x | | y |\n| --- | ---: | --- |\n| 1 | `2\\|3` | - |"
    gaps = "a | b\n\n| x&emsp; | | y |\n| --- | ---: | --- |\n| 1&emsp; | `2\\|3`&emsp; | - |"
    assert run_page.spaced(table) == gaps

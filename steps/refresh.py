"""refresh: the champion on the newest months; `main` on the window moved forward if its error rose or a month changed.

Without anything new it leaves no run.
"""

if __name__ == "__main__":
    from provenance.bootstrap.start import start_step

    start_step()

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from provenance.pipeline.cli import Refused, checked
from provenance.pipeline.declaration import Parameters
from provenance.pipeline.output import echo
from provenance.pipeline.report_run import publish_report, report_run
from steps.main import CHAIN
from steps.options import RUN, StepCommand, options
from steps.pipeline import PIPELINE
from steps.raw_months import fetching
from taxi.evaluation.refresh_rule import FIRST, Lengths, News, RefreshDecision, Window, decide, news

if TYPE_CHECKING:
    from provenance.pipeline.session import Session
    from provenance.record.lineage import Lineage
    from steps.models.champion import Champion
    from steps.pages.refresh_page import Retrained
    from taxi.evaluation.drift_report import Drift

HANDED_ON = ("source", "workers", "engine", *RUN)  # to `main`, as they are
DECISION_LENGTH = 5000  # characters that MLflow keeps of a tag
SAMPLE_ENDS = "2023-03"  # the last of the default months


@dataclass(frozen=True)
class Found:
    """What is there. there: month -> digest, of the months that can be used. unusable: those that cannot, and why."""

    model_name: str
    champion: "Champion | None"
    lengths: Lengths
    there: Mapping[str, str]
    unusable: tuple[str, ...]
    news: News

    @property
    def version(self) -> str | None:
        """The champion's number."""
        return self.champion.version if self.champion else None

    @property
    def nothing(self) -> bool:
        """Whether there is a champion and no month that could change it."""
        return self.champion is not None and self.news.nothing


@click.command(cls=StepCommand)
@options("source", "taxi", "model_name", "retrain_above", "train_window", "val_window", "test_window",
         "champions_max_evals", "champions_seed", "workers", "engine", *RUN)  # fmt: skip
@checked
def refresh(**params: Any) -> None:
    """Retrain if the champion's error rose on the newest months, or one of its months changed. The gate decides."""
    from provenance.pipeline.forget import delete_once_launched

    with report_run(PIPELINE, "refresh", params) as session:
        name = named(params)
        wait_for_turn(session, name)
        found = look(session, params, name)
        run_id, project = session.run_id, session.project
        lineage = None if found.nothing else lineage_of(session, params, found)
        before = lineage and params["reuse"] and decided_before(session, lineage)
        if lineage and not before:
            refreshed(session, params, found, lineage)
            echo(f"run {run_id}")
            return
        echo(before or f"fresh: {name} version {found.version} was made of the newest "
             f"{params['taxi']} months, up to {max(found.there)}")  # fmt: skip
    delete_once_launched(session.client, run_id, project)


def named(params: Parameters) -> str:
    """The registered model: that of `main` with the same source, unless one is given."""
    from steps.models.judged_on import model_name_for

    return model_name_for(params["source"]) if params["model_name"] == "auto" else str(params["model_name"])


def wait_for_turn(session: "Session", model_name: str) -> None:
    """Wait until no other refresh of this model is under way: afterwards there may be nothing left to do."""
    from provenance.record.digest import digest_json
    from provenance.reuse import single_flight
    from steps import names as trip_names

    single_flight.wait_for_turn(
        session.client, session.trusted_experiments, session.run_id, digest_json(model_name), session.say,
        session.project, tags=(trip_names.REFRESH, trip_names.REFRESH_TICKET), what="refreshes the same model",
    )  # fmt: skip


def look(session: "Session", params: Parameters, model_name: str) -> Found:
    """The champion, and what the source has that it was not made of. Raises DataSourceError, Refused."""
    from steps.models.champion import champion
    from taxi.sources.locate import DataSourceError, public, sample_rows

    held = champion(session, model_name, sample_rows(params["source"]) is not None)
    if held and held.params["taxi"] != params["taxi"]:
        raise Refused(
            f"the champion of {model_name} is for {held.params['taxi']} taxis\n"
            f" Give -P taxi={held.params['taxi']}, or another model_name."
        )
    own = held.lengths if held else Lengths()
    lengths = Lengths(**{
        split: months if (given := params[f"{split}_window"]) == "auto" else int(given)
        for split, months in vars(own).items()
    })  # fmt: skip
    there, unusable = usable(params, held, lengths.total)
    if not there:
        raise DataSourceError(
            f"source {public(params['source'])} has no month of {params['taxi']} taxis that can be used\n"
            " Give a source that has one: -P source=FOLDER (or tlc, a URI prefix)."
        )
    made_of = held.made_of if held else {}
    seen = news(made_of, there, lengths) if held else News(tuple(sorted(there)[-lengths.total :]), (), (), ())
    return Found(model_name, held, lengths, there, unusable, seen)


def usable(params: Parameters, held: "Champion | None", count: int) -> tuple[dict[str, str], tuple[str, ...]]:
    """The newest `count` months of the source and those of the champion, by digest; why others cannot be used.

    Each is named on stderr: it may be only half published, and whole at the next time.
    """
    made_of = held.made_of if held else {}
    there: dict[str, str] = {}
    unusable: dict[str, str] = {}

    def take(month: str) -> None:
        digest, why = digest_of(params, month, made_of.get(month))
        if digest:
            there[month] = digest
        else:
            unusable[month] = f"{month} is left out: {why}"
            echo(unusable[month], err=True)

    for month in candidates(params, made_of, count):
        take(month)
        if len(there) == count:
            break
    for month in sorted(made_of.keys() - there.keys() - unusable.keys()):
        take(month)
    return there, tuple(unusable.values())


def candidates(params: Parameters, made_of: Mapping[str, str], count: int) -> Iterator[str]:
    """The months of the source, newest first. The sample has none that are newer than its champion's."""
    from taxi.months.month import YEARS
    from taxi.sources.locate import sample_rows
    from taxi.sources.published import earlier, published

    made_up = sample_rows(params["source"]) is not None
    if made_up and made_of:
        return iter(sorted(made_of, reverse=True))
    latest = SAMPLE_ENDS if made_up else max([this_month(), *made_of])
    earliest = earlier(min(made_of), count) if made_of else f"{YEARS[0]}-01"
    return published(params["source"], params["taxi"], earliest, latest, base_url=fetching()["base_url"])


def this_month() -> str:
    """``YYYY-MM`` in UTC."""
    return f"{datetime.now(UTC):%Y-%m}"


def digest_of(params: Parameters, month: str, known: str | None) -> tuple[str, str]:
    """A month's digest, or "" and why it cannot be used; one of another digest than `known` is read to its end."""
    from collections import Counter

    from taxi.months.trips import SchemaError, kept_trips
    from taxi.sources.locate import DataSourceError, known_digests, locate, sample_rows
    from taxi.sources.published import drop_outdated

    source, taxi = params["source"], params["taxi"]
    try:
        if sample_rows(source) is not None:
            return known_digests(source, taxi, [month])[month], ""
        if source == "tlc":
            drop_outdated(taxi, [month], base_url=fetching()["base_url"])
        [located] = locate(source, taxi, [month], **fetching())
        if located.digest != known:
            for _ in kept_trips(located, True, Counter()):
                pass
        return located.digest, ""
    except (DataSourceError, SchemaError) as error:
        return "", str(error).partition("\n")[0]


def lineage_of(session: "Session", params: Parameters, found: Found) -> "Lineage":
    """What this run is made of: the champion, the months, and the parameters of the `main` that it would start."""
    from provenance.record.lineage import Input, normalise
    from taxi.sources.locate import public

    inputs = (found.champion.model.input, found.champion.dataset) if found.champion else ()
    months = sorted({*found.news.newest, *found.news.moved})
    read = tuple(Input(month, public(params["source"]), found.there[month]) for month in months)
    wanted = {
        **main_parameters(params, found),
        "retrain_above": params["retrain_above"],
        "months": ",".join(found.news.newest),
        **{f"{split}_window": months for split, months in vars(found.lengths).items()},
    }
    return session.lineage(
        "refresh",
        params={name: normalise(value) for name, value in wanted.items() if name not in HANDED_ON},
        placement={name: normalise(params[name]) for name in HANDED_ON},
        inputs=(*inputs, *read),
        key_inputs={},
    ).with_key()


def main_parameters(params: Parameters, found: Found) -> dict[str, str]:
    """The parameters of `main`, without the months: those that made the champion, unless others are given."""
    own = found.champion.params if found.champion else {"taxi": params["taxi"]}
    given = {name: params[name] for name in ("max_evals", "seed") if params[name] != "auto"}
    given |= {name: params[name] for name in HANDED_ON} | {"model_name": found.model_name}
    made_with = {name: text for name, text in own.items() if name in CHAIN and not name.endswith("_months")}
    return made_with | {
        name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in given.items()
    }


def decided_before(session: "Session", lineage: "Lineage") -> str:
    """What a finished run decided on exactly this; "" if there is none."""
    from provenance.record import names
    from provenance.reuse.cache import Hit

    hit = session.find(lineage)
    if not isinstance(hit, Hit):
        return ""
    decision = session.client.get_run(hit.run_id).data.tags.get(names.DECISION, "")
    return f"fresh: run {hit.run_id} has decided on these months ({session.when(hit)}): {decision}"


def refreshed(session: "Session", params: Parameters, found: Found, lineage: "Lineage") -> None:
    """Measure the drift, decide, retrain if need be; the run keeps what was decided and why."""
    from mlflow.entities import Metric

    from provenance.record.writer import record_start, upload_patch

    record_start(session, lineage)
    upload_patch(session, lineage)
    drift = measured(session, params, found)
    if drift:
        metrics = [Metric(name, value, 0, 0) for name, value in drift.metrics().items()]
        session.client.log_batch(session.run_id, metrics=metrics)
    decision = decide(found.news, drift.change if drift else None, params["retrain_above"]) if found.champion else FIRST
    echo(f"{decision.word}: {decision.reason}")
    retrained = retrain(session, params, found, lineage, decision) if decision.retrain else None
    publish(session, params, found, lineage, Outcome(decision, drift, retrained))


def retrain(
    session: "Session", params: Parameters, found: Found, lineage: "Lineage", decision: RefreshDecision
) -> "Retrained":
    """Run `main` on the newest window. Raises WindowError, ChainError; then the run says why it was to train."""
    from provenance.record.writer import record_note

    record_note(session, lineage, about=(f"Training anew, because {decision.reason}.",))
    window = Window.of(found.news.newest, found.lengths)
    echo(f"window: {window}")
    made = run_main(session, main_parameters(params, found) | window.params())
    echo(f"{made.name} version {made.version} ({made.became}): {made.why}")
    return made


@dataclass(frozen=True)
class Outcome:
    """What was decided, on which drift, and what came of it."""

    decision: RefreshDecision
    drift: "Drift | None"
    retrained: "Retrained | None"

    def __str__(self) -> str:
        became = f"; {self.retrained}" if self.retrained else ""
        return f"{self.decision.word}: {self.decision.reason}{became}"


def publish(session: "Session", params: Parameters, found: Found, lineage: "Lineage", outcome: Outcome) -> None:
    """Write the run's page, its files and its record."""
    from provenance.record import names
    from provenance.record.writer import record_finish
    from steps import names as trip_names
    from steps.pages import refresh_page

    made, uri = outcome.retrained, found.champion.model.uri if found.champion else ""
    about = refresh_page.about(found.model_name, found.version, outcome.decision, made)
    months = refresh_page.report(found.unusable, found.news, outcome.drift, uri)
    tags = {trip_names.TAXI: params["taxi"], names.DECISION: str(outcome)[:DECISION_LENGTH]}
    facts = facts_of(params, found, outcome)
    publish_report(session, "\n\n".join([*about, months]), facts, tags, file=trip_names.DECISION_FILE)
    steps = {"main": made.run_id} if made else None
    record_finish(session, lineage, steps=steps, about=about, note=months)


def measured(session: "Session", params: Parameters, found: Found) -> "Drift | None":
    """The champion on the months that are new; None if none is."""
    from steps.drift import compared
    from steps.pages.drift_page import log_drift_plots
    from taxi.sources.locate import locate

    if found.champion is None or not found.news.new:
        return None
    with tempfile.TemporaryDirectory(prefix="refresh-") as scratch:
        months = locate(params["source"], params["taxi"], found.news.new, scratch=Path(scratch), **fetching())
        drift = compared(session, found.champion.model, found.champion.dataset, months)
    log_drift_plots(session.client, session.run_id, drift)
    for line in drift.lines():
        echo(line)
    return drift


def run_main(session: "Session", parameters: Mapping[str, str]) -> "Retrained":
    """Run `main`, as a child run; the version that it registered and what the gate decided. Raises ChainError."""
    from provenance.pipeline import launch
    from provenance.record import names
    from steps.pages.refresh_page import Retrained

    run_id = launch.launch(session, "main", parameters).info.run_id
    _, name, version = session.hit(run_id).outputs[f"register.{names.VERSION}"].uri.split("/")
    tags = session.client.get_model_version(name, version).tags
    return Retrained(run_id, name, version, tags.get(names.DECISION, ""), tags.get(names.REASON, ""))


def facts_of(params: Parameters, found: Found, outcome: Outcome) -> dict[str, object]:
    """Everything, for JSON."""
    return {
        "schema": 1,
        "decision": outcome.decision.word,
        "reason": outcome.decision.reason,
        "retrain_above": params["retrain_above"],
        "model": found.champion.model.uri if found.champion else None,
        "months": {**vars(found.news), "unusable": found.unusable},
        "window": vars(found.lengths),
        "drift": outcome.drift.to_dict() if outcome.drift else None,
        "retrained": vars(outcome.retrained) if outcome.retrained else None,
    }


if __name__ == "__main__":
    refresh()

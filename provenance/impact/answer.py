"""What came of a subject: one item for each dataset, search, model, version, trial and file that was made from it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from provenance.impact.graph import RUN, Graph
from provenance.impact.recorded import RecordedRun
from provenance.impact.subject import WORKED_WITH, Subject
from provenance.impact.versions import Version
from provenance.record.digest import Json
from provenance.reuse.cache import LATEST

if TYPE_CHECKING:
    from provenance.pipeline.declaration import Pipeline

SUBJECT = "subject"  # stands for the subject in `made_of`
MODEL, VERSION, TRIAL, REPORT = "model", "version", "trial", "report"


@dataclass(frozen=True)
class Item:
    """One thing that came of the subject.

    id: its URI; of a trial or a report "run:<id>", and of a file outside the store "run:<id>/<output>".
    kind: the name of the output ("dataset", "search", "predictions"), or "model", "version", "trial" or "report".
    location: where it lies; "" for a trial or a report.
    run_id: the run that made it; `step`, `experiment` and `user` are of this run, `when` is its end, ISO 8601 in UTC.
    made_of: the ids of the items that it was made of directly; "subject" is the subject.
    reused_by: the runs that stand for the run that made it.
    search: of a trial and of its model, the run of its search.
    """

    id: str
    kind: str
    location: str
    digest: str
    run_id: str
    step: str
    experiment: str
    user: str
    when: str
    trial: str = ""
    aliases: tuple[str, ...] = ()
    served: bool = False
    made_of: tuple[str, ...] = ()
    reused_by: tuple[str, ...] = ()
    search: str = ""


@dataclass(frozen=True)
class Answer:
    """What came of one subject.

    unfinished: runs that worked with it and left nothing: they failed, still run, or only checked another run.
    unknown: runs that read what no readable run made: whether they belong here cannot be told.
    """

    subject: Subject
    items: tuple[Item, ...]
    unfinished: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def served(self) -> list[Item]:
        """The versions that hold the alias that serving asks for."""
        return [item for item in self.items if item.served]

    def of_kind(self, kind: str) -> list[Item]:
        """The items of one kind, in the order of the answer."""
        return [item for item in self.items if item.kind == kind]

    def to_dict(self) -> dict[str, Json]:
        """Plain values, for JSON."""
        subject = self.subject
        return {
            "kind": subject.kind,
            "name": subject.name,
            "digest": subject.digest,
            "about": subject.about,
            "counts": dict(self.counts),
            "served": [item.location for item in self.served],
            "came_of_it": [asdict(item) for item in self.items],
            "unfinished_runs": list(self.unfinished),
            "unknown_runs": list(self.unknown),
            "unread_environments": list(subject.unread),
        }


def answer(graph: Graph, pipeline: Pipeline, subject: Subject, experiments: Mapping[str, str]) -> Answer:
    """What came of the subject. experiments: id -> name."""
    items = _Items(graph, frozenset(subject.seeds), frozenset(graph.after(subject.seeds)), experiments)
    # Of a commit or a package, the reports of its runs came, too. A run that is asked about is not its own result.
    nodes = items.reached | items.seeds if subject.kind in WORKED_WITH else items.reached
    found = [item for node in nodes if (item := items.item(node))]
    order = kinds(pipeline, {item.kind for item in found})
    found.sort(key=lambda item: item.id)
    found.sort(key=lambda item: item.when, reverse=True)
    found.sort(key=lambda item: (order.index(item.kind), not item.served, not item.aliases))
    count = Counter(item.kind for item in found)
    touched = items.reached | items.seeds
    unfinished = [run for run in graph.runs.values() if run.active and run.step and not run.finished]
    return Answer(
        subject,
        tuple(found),
        tuple(sorted(run.run_id for run in unfinished if RUN + run.run_id in touched)),
        tuple(sorted(run.run_id for run in graph.unknown() if RUN + run.run_id not in touched)),
        {kind: count[kind] for kind in order},
    )


def kinds(pipeline: Pipeline, found: Iterable[str]) -> list[str]:
    """The kinds in the order in which the pipeline makes them; trials and reports come last."""
    needed = [need.output for step in pipeline.steps for need in step.needs]
    first = list(dict.fromkeys([*needed, MODEL, VERSION]))
    last = [TRIAL, REPORT]
    between = sorted({*found} - {*first, *last})
    return [kind for kind in (*first, *between, *last) if kind in found]


@dataclass(frozen=True)
class _Items:
    """Makes items of the nodes that were `reached` from `seeds`."""

    graph: Graph
    seeds: frozenset[str]
    reached: frozenset[str]
    experiments: Mapping[str, str]

    def item(self, node: str) -> Item | None:
        """The item of a node; None if it stands for no result, or for one that cannot be used.

        The run may have been deleted, have failed, or have only checked another run.
        """
        if version := self.graph.versions.get(node):
            return self._version(version)
        run = self.graph.runs.get(self.graph.maker.get(node, node.removeprefix(RUN)))
        if run is None or not run.active or not run.finished:
            return None
        if made := self.graph.made.get(node):
            return self._of(run, node, made.name, made.uri, made.digest)
        if run.trial:
            return self._of(run, node, TRIAL)
        left = run.outputs or run.models or run.by_reference
        reports = bool(run.step) and not left
        return self._of(run, node, REPORT) if reports else None

    def _of(self, run: RecordedRun, node: str, kind: str, location: str = "", digest: str = "") -> Item:
        links = self.graph.links.get(run.run_id, ())
        search = self.graph.runs.get(run.parent) if run.trial else None
        return Item(
            id=node,
            kind=MODEL if node.startswith("models:/") else kind,
            location=location,
            digest=digest,
            run_id=run.run_id,
            step=run.step or f"trial {run.trial}",
            experiment=self.experiments.get(run.experiment, run.experiment),
            user=search.user if search else run.user,
            when=_when(run.ended),
            trial=run.trial,
            made_of=self._nearest(run) or (SUBJECT,),
            reused_by=tuple(sorted(link for link in links if self.graph.runs[link].active)),
            search=run.parent if run.trial else "",
        )

    def _version(self, version: Version) -> Item:
        run = self.graph.runs.get(version.run_id)
        made_of = self._known([version.source]) or (self._nearest(run) if run else ())
        return Item(
            id=version.uri,
            kind=VERSION,
            location=version.uri,
            digest="",
            run_id=version.run_id,
            step=run.step if run else "",
            experiment=self.experiments.get(run.experiment, run.experiment) if run else "",
            user=run.user if run else "",
            when=_when(version.created),
            aliases=version.aliases,
            served=version.served,
            made_of=made_of or (SUBJECT,),
        )

    def _nearest(self, run: RecordedRun) -> tuple[str, ...]:
        """The items that a run read."""
        own = {RUN + run.run_id, RUN + run.parent} if run.trial else {RUN + run.run_id}
        seeded = (SUBJECT,) if own & self.seeds else ()
        return tuple(dict.fromkeys([*seeded, *self._known(self.graph.read_by(run))]))

    def _known(self, nodes: Iterable[str]) -> tuple[str, ...]:
        found = (SUBJECT if node in self.seeds else node for node in nodes if node in self.seeds | self.reached)
        return tuple(dict.fromkeys(found))


def _when(milliseconds: int) -> str:
    """ISO 8601 in UTC; "" for a time that no clock has."""
    if not 0 < milliseconds < LATEST:
        return ""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

"""What was made of what: runs, artifacts, files, models and versions as one graph that is followed forwards.

A node is a text: ``file:<digest>``, ``run:<id>``, or the URI of an artifact, a logged model or a version.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from provenance.impact.recorded import Made, RecordedRun, stored
from provenance.impact.versions import Version
from provenance.record.lineage import Input

RUN, FILE = "run:", "file:"
RUNS = "runs:/"


@dataclass(frozen=True)
class FileRead:
    """A file that no step made: its digest, its role in a run, the location that the run names, and that run."""

    digest: str
    role: str
    location: str
    run: RecordedRun


@dataclass
class Graph:
    """The graph of `runs` and `versions`.

    made: node -> the output, as the run names it that made it. A model that no output names has an empty digest.
    maker: node -> the id of that run. Of a trial's model it is the trial, and not the search, which lists it too.
    files: digest -> who read the file.
    links: run id -> the runs that stand for it.
    """

    runs: Mapping[str, RecordedRun]
    versions: Mapping[str, Version]
    made: dict[str, Made] = field(default_factory=dict)
    maker: dict[str, str] = field(default_factory=dict)
    files: dict[str, list[FileRead]] = field(default_factory=dict)
    links: dict[str, list[str]] = field(default_factory=dict)
    _after: dict[str, set[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for run in self.runs.values():
            if run.trial:
                self._add_trial(run)
            elif not run.by_reference:
                self._add_step(run)
        for run in self.runs.values():
            if run.by_reference and not run.trial:
                self._add_reference(run)
        for version in self.versions.values():
            self._add_version(version)
        for node, output in self.made.items():
            if output.digest in self.files:  # somebody read a copy of an output as a file
                self._connect(node, FILE + output.digest)

    def after(self, seeds: Iterable[str]) -> set[str]:
        """All nodes that can be reached from `seeds`; a seed itself only if it can be reached from another one."""
        found: set[str] = set()
        pending = [node for seed in seeds for node in self._after.get(seed, ())]
        while pending:
            node = pending.pop()
            if node not in found:
                found.add(node)
                pending += self._after.get(node, ())
        return found

    def original(self, run_id: str) -> str:
        """The run that run `run_id` stands for: itself, or the readable run that it reused."""
        seen = {run_id}
        while (above := self.runs[run_id].reused) in self.runs and above not in seen:
            seen.add(above)
            run_id = above
        return run_id

    def made_by(self, node: str) -> str:
        """The id of the run that made a node, or of the one that registered a version; "" if that is not known."""
        version = self.versions.get(node)
        return version.run_id if version else self.maker.get(node, "")

    def read_by(self, run: RecordedRun) -> list[str]:
        """The nodes that a run read; of a trial, those that its search read."""
        reader = self.runs.get(run.parent) if run.trial else run
        return [node_of(item) for item in reader.inputs] if reader else []

    def unknown(self) -> list[RecordedRun]:
        """The finished runs that read what no readable run made: it was purged, or is in an unreadable experiment."""
        known = self.made.keys() | self.versions.keys()
        return [
            run
            for run in self.runs.values()
            if run.active and run.finished and not run.by_reference
            and any(stored(item.uri) and stored(item.uri) not in known for item in run.inputs)
        ]  # fmt: skip

    def _connect(self, before: str, after: str) -> None:
        self._after.setdefault(before, set()).add(after)

    def _add_step(self, run: RecordedRun) -> None:
        """A run that did its own work, or tried to."""
        self._read(run)
        for model in run.models:
            self._keep_model(run, f"models:/{model}")
        for output in run.outputs:
            own = output.uri.startswith(f"{RUNS}{run.run_id}/")
            if own or not stored(output.uri):  # a file that the user wanted lies elsewhere
                self._keep(run, output.uri if own else f"{RUN}{run.run_id}/{output.name}", output)
            elif output.uri.removeprefix("models:/") in run.models:
                self.made[output.uri] = output

    def _add_trial(self, run: RecordedRun) -> None:
        """A trial is part of its search: what the search left came of it, too."""
        node, search = RUN + run.run_id, self.runs.get(run.parent)
        self._connect(RUN + run.parent, node)
        if run.reused:
            self._connect(RUN + run.reused, node)
        for model in run.models:
            self._keep_model(run, f"models:/{model}")
        for output in search.outputs if search else ():
            if output.uri.startswith(f"{RUNS}{run.parent}/"):
                self._connect(node, output.uri)

    def _add_reference(self, run: RecordedRun) -> None:
        """A run that stands for others, or a chain. Its record speaks for what these made if they are gone."""
        if run.reused:
            self.links.setdefault(run.reused, []).append(run.run_id)
        of_others = {run.reused, *run.steps} - self.runs.keys()
        lost = [output for output in run.outputs if self._is_lost(output.uri, of_others)]
        if lost:
            self._read(run)
        for output in lost:
            self._keep(run, output.uri, output)

    def _is_lost(self, uri: str, gone: set[str]) -> bool:
        """Whether one of the runs `gone` made the output at `uri`, and no readable run says so."""
        if version := self.versions.get(uri):
            return version.run_id in gone
        if uri.startswith(RUNS):
            return uri.split("/")[1] in gone
        return bool(gone) and uri.startswith("models:/m-") and uri not in self.made

    def _add_version(self, version: Version) -> None:
        if version.source in self.made:
            self._connect(version.source, version.uri)
        by = self.runs.get(version.run_id)
        if by is None and version.search in self.runs:
            self._connect(RUN + version.search, version.uri)
        # A repetition registers in a registry of its own, where the same name and number is another version.
        if by and any(output.uri == version.uri for output in by.outputs):
            self._connect(RUN + by.run_id, version.uri)

    def _read(self, run: RecordedRun) -> None:
        for item in run.inputs:
            self._connect(node_of(item), RUN + run.run_id)
            # Before a run has finished, the digest may be that of the recipe of a file and not of its bytes.
            if run.finished and not stored(item.uri):
                self.files.setdefault(item.digest, []).append(FileRead(item.digest, item.role, item.uri, run))

    def _keep(self, run: RecordedRun, node: str, output: Made) -> None:
        self._connect(RUN + run.run_id, node)
        self.made.setdefault(node, output)
        self.maker.setdefault(node, run.run_id)

    def _keep_model(self, run: RecordedRun, node: str) -> None:
        self._keep(run, node, Made("model", node, ""))
        if run.trial:
            self.maker[node] = run.run_id


def node_of(item: Input) -> str:
    """The node that an input is: what lies in the store, or else a file by its digest."""
    return stored(item.uri) or FILE + item.digest

"""A project whose steps run in the test's own process."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from mlflow.entities import Run

from provenance.commands.plan import planned
from provenance.pipeline import launch
from provenance.pipeline.declaration import Pipeline
from provenance.pipeline.graph import Graph
from provenance.pipeline.session import Session
from provenance.record import names
from provenance.record.artifacts import open_artifact
from provenance.record.lineage import Lineage
from provenance.reuse.cache import read_lineage
from steps.main import main
from steps.main import prepared as as_steps_take_them
from steps.pipeline import PIPELINE
from tests.support.in_process import in_process
from tests.support.project import Workplace, copied, workplace

BASE = {
    "source": "sample:600",
    "model": "linear",
    "max_evals": "2",
    "batch": "1",
    "workers": "1",
    "top_n": "2",
}
CHAIN = PIPELINE.names
EVERYTHING = set(CHAIN)


@dataclass
class Project:
    """A copy of this project with a store in which the chain has run once."""

    root: Path
    place: Workplace
    ran: list[str] = field(default_factory=list)

    @property
    def pipeline(self) -> Pipeline:
        return replace(PIPELINE, root=self.root)

    def edit(self, name: str, old: str, new: str) -> None:
        path = self.root / name
        text = path.read_text()
        assert old in text, f"{name} no longer holds {old!r}"
        path.write_text(text.replace(old, new, 1))

    def append(self, name: str, text: str) -> None:
        path = self.root / name
        path.write_text(path.read_text() + text)

    def chain(self, steps: tuple[str, ...] = CHAIN, asked: int | None = None, **params: str) -> set[str]:
        """Run the chain of `main`, or some of its steps and what they need; the steps that were not reused.

        asked: when it was started, in milliseconds since the epoch, if not now.
        """
        client, parsed = self.place.client, self.parsed(**params)
        parent = client.create_run("0", start_time=asked)
        graph = Graph(Session(self.pipeline, client, parent, quiet=True), parsed)
        for step in steps:
            graph.made_by(step, reuse=parsed["reuse"])
        client.set_terminated(parent.info.run_id)
        return set(graph.ran)

    def plan(self, **params: str) -> dict[str, list[str]]:
        """What `plan` says: each step that would run, and why."""
        session = Session(self.pipeline, self.place.client, None, quiet=True)
        rows = planned(session, self.parsed(**params))
        return {row["step"]: row["why"] for row in rows if not row["reuse"]}

    def parsed(self, **params: str) -> dict[str, object]:
        """The parameters of `main` as its command parses them."""
        given = {**BASE, **params}
        arguments = [word for name, value in given.items() for word in (f"--{name.replace('_', '-')}", value)]
        return as_steps_take_them({**main.make_context("main", arguments).params, "quiet": True})

    def output(self, step: str, name: str) -> Path:
        """The folder of the newest run's output."""
        with open_artifact(f"runs:/{self._newest(step).info.run_id}/{name}") as folder:
            return folder

    def newest(self, step: str) -> Lineage:
        """The record of the step's newest run."""
        return read_lineage(self._newest(step))

    def _newest(self, step: str) -> Run:
        query = f"tags.`{names.STEP}` = '{step}' and tags.`{names.OUTPUTS}` != ''"
        return self.place.client.search_runs(["0"], query, max_results=1)[0]


def use(project: Project, patch: pytest.MonkeyPatch) -> None:
    """Point MLflow, the keys and the launching of steps at `project`."""
    import mlflow

    patch.setenv("MLFLOW_TRACKING_URI", project.place.store)
    patch.setattr(launch, "launch", in_process)
    patch.setattr(Session, "root", project.root)
    mlflow.set_tracking_uri(project.place.store)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, migrated_store) -> Iterator[Project]:
    """The chain run once; tests get copies."""
    folder = tmp_path_factory.mktemp("reuse")
    root = folder / "project"
    copied(root)
    project = Project(root, workplace(folder / "place", migrated_store))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project.place.folder)
        use(project, patch)
        assert project.chain() == EVERYTHING
        yield project


@pytest.fixture
def project(prepared, tmp_path, monkeypatch) -> Project:
    """A project to edit, on a copy of the store in which the chain has run; the artifacts are shared."""
    root = tmp_path / "project"
    shutil.copytree(prepared.root, root)
    shutil.copy(prepared.place.folder / "mlflow.db", tmp_path)
    copy = Project(root, Workplace(tmp_path))
    use(copy, monkeypatch)
    return copy

"""Run `main` of a project with its default parameters and a temporary registry, and collect what its steps gave."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from mlflow.entities import Run

from provenance.pipeline.launch import children
from provenance.pipeline.session import RunError, Session
from provenance.record import names
from provenance.record.artifacts import ArtifactError
from provenance.record.lineage import Lineage, LineageError
from provenance.reproduce import recorded_run, replay
from provenance.reproduce.reproduce import ReproductionError
from provenance.reproduce.verdict import Made
from provenance.reuse.revoke import revoke


@dataclass(frozen=True)
class Failure:
    """Why `main` ended early.

    step: the step that failed, or the chain itself if no step did.
    error: MLflow's message.
    said: the last lines that the steps printed.
    tried: the record with which the step started, if it came so far.
    """

    step: str
    error: str
    said: Sequence[str] = ()
    tried: Lineage | None = None


@dataclass(frozen=True)
class MainRun:
    """What `main` gave.

    steps: name of a step -> its result, in the order in which they ran.
    failure: why there are no more, or None.
    """

    steps: Mapping[str, Made] = field(default_factory=dict)
    failure: Failure | None = None


def run_main(session: Session, project: Path, params: Mapping[str, str], keep: bool = False) -> MainRun:
    """Run `main` of the project in the folder `project`, in the kind of environment of the session's run.

    Parameters
    ----------
    session : Session
        The session of the open run. `main` becomes a child of this run.
    project : Path
        The folder with MLproject: this checkout or another one.
    params : mapping of str to str
        Parameters of `main` that differ from its defaults. Those that its MLproject does not declare are left out.
    keep : bool, optional
        Whether later runs may reuse the steps. Steps that register are never reused, because their registry is deleted.

    Returns
    -------
    MainRun
        The results of the steps, and the failure if `main` failed.

    Raises
    ------
    ReproductionError
        If the project has no such entry point.
    """
    chain = session.pipeline.chains[0]
    given = _declared(project, chain, params)
    manager = session.open_run.data.tags.get(names.PROJECT_ENV, "local")
    with tempfile.TemporaryDirectory(prefix="registry-") as folder, replay.scratch_registry(Path(folder)):
        repeated = replay.launch(session, project, chain, given, manager)
    if repeated.run_id is None:
        return MainRun(failure=Failure(chain, repeated.error or ""))
    parent = session.client.get_run(repeated.run_id)
    below = sorted(children(session.client, parent, session.project), key=lambda run: run.info.start_time)
    try:
        if repeated.made is None:
            return _failed(session, chain, repeated.error or "", below)
        hits = [session.hit(run_id) for run_id in recorded_run.step_runs(session, repeated.run_id)]
        order = session.pipeline.names
        made = [Made(hit.run_id, hit.lineage, hit.metrics) for hit in hits]
        made.sort(key=lambda one: order.index(one.lineage.step) if one.lineage.step in order else len(order))
        return MainRun({one.lineage.step: one for one in made})
    finally:
        for run in [parent, *(run for run in below if not keep or _registers(session, run))]:
            revoke(session.client, run.info.run_id, session.project)


def _declared(project: Path, chain: str, params: Mapping[str, str]) -> dict[str, str]:
    """Those of `params` that MLproject declares for `chain`. Raises ReproductionError if it has no such entry point."""
    try:
        declared = yaml.safe_load((project / "MLproject").read_text())["entry_points"][chain].get("parameters") or {}
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise ReproductionError(f"{project / 'MLproject'} has no entry point {chain} ({error!r:.100})\n"
                                " Give a commit that has one.") from error  # fmt: skip
    return {name: text for name, text in params.items() if name in declared}


def _failed(session: Session, chain: str, error: str, below: Sequence[Run]) -> MainRun:
    """What the steps of a `main` gave that failed: those that finished, and the one that did not."""
    made: dict[str, Made] = {}
    broken = chain
    tried = None
    for run in below:
        step = run.data.tags.get(names.ENTRY_POINT, "")
        try:
            hit = session.hit(run.info.run_id)
            made[step] = Made(hit.run_id, hit.lineage, hit.metrics)
        except (RunError, LineageError, ArtifactError):
            broken, tried = step, replay.tried(run.info.run_id)
    return MainRun(made, Failure(broken, error, tried=tried))


def _registers(session: Session, run: Run) -> bool:
    """Whether the run may have registered a model. A step that this project does not declare may have, too."""
    step = session.pipeline.by_name.get(run.data.tags.get(names.ENTRY_POINT, ""))
    return step is None or step.registers

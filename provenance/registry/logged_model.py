"""Log a model as data and code, with signature, example, pinned requirements and the lock. It contains no pickle.

The source of the model is a file of the project (MLflow's models-from-code). It loads the data from
``artifacts/predictor``.
"""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import mlflow
import pandas as pd
import yaml
from mlflow.entities import LoggedModelOutput, Metric
from mlflow.models import Model, ModelSignature

from provenance.record import names
from provenance.record.artifacts import open_artifact, output_record
from provenance.record.code import closure
from provenance.record.lineage import Output
from provenance.registry.model_files import VOLATILE

LOCK = "requirements.lock"
LOCK_FILE = "requirements-lock.txt"  # the lock inside a model, beside MLflow's requirements.txt
PREDICTOR = "predictor"  # the folder of the model's data, and how its source finds it: context.artifacts["predictor"]


@dataclass(frozen=True)
class ModelSource:
    """How models of a project are served.

    root: the project's folder. module: their source, "steps.served". packages: which of those that it imports go with
    a model. requirements: names of installed packages that serving imports; their versions are pinned. kind: MLflow's
    type of model.
    """

    root: Path
    module: str
    packages: tuple[str, ...]
    requirements: tuple[str, ...]
    kind: str

    @property
    def file(self) -> Path:
        return self.root.joinpath(*self.module.split(".")).with_suffix(".py")

    @property
    def pins(self) -> list[str]:
        """The installed versions. MLflow warns if the model is loaded with other versions."""
        return [f"{name}=={importlib.metadata.version(name)}" for name in self.requirements]

    def copy_code(self, folder: Path) -> list[Path]:
        """Copy the modules that the model imports to `folder`, and return the packages. Other files are not copied."""
        for path in closure(self.root, self.module):
            if path.partition("/")[0] in self.packages:
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(self.root / path, folder / path)
        return [folder / package for package in self.packages if (folder / package).is_dir()]


class LockedPyfunc:
    """MLflow's pyfunc flavor with the project's lock as environment: all packages, with the hash of each file.

    MLflow's own requirements name only direct dependencies. The versions of all others would be chosen again on each
    machine that serves the model.
    """

    __name__ = "mlflow.pyfunc"

    def __init__(self, root: Path):
        self._root = root

    def save_model(self, path: str, **kwargs: object) -> None:
        """Save as `mlflow.pyfunc.save_model` does with `kwargs`, then put the lock in place of the requirements."""
        mlflow.pyfunc.save_model(path=path, **kwargs)
        folder = Path(path)
        shutil.copy(self._root / LOCK, folder / LOCK_FILE)
        direct = (folder / "requirements.txt").read_text()
        (folder / "constraints.txt").write_text(direct)
        # MLflow compares the unhashed pins with what is installed where a model is loaded; it cannot read hashed ones.
        (folder / "requirements.txt").write_text(f"-r {LOCK_FILE}\n-c constraints.txt\n")
        python = platform.python_version()
        environment = {"python": python, "build_dependencies": [], "dependencies": ["-r requirements.txt"]}
        (folder / "python_env.yaml").write_text(yaml.safe_dump(environment, sort_keys=False))
        conda = yaml.safe_load((self._root / "conda.yaml").read_text())
        conda["name"] = "mlflow-env"
        conda["dependencies"] = [
            {"pip": ["-r requirements.txt"]} if isinstance(item, dict) else item for item in conda["dependencies"]
        ]
        (folder / "conda.yaml").write_text(yaml.safe_dump(conda, sort_keys=False))


@dataclass(frozen=True)
class Described:
    """What a model says of itself: what goes in and comes out, parameters, metrics, tags.

    measured: gives the metrics as MLflow keeps them, for the model's id and the last value of each that its run has.
    """

    signature: ModelSignature
    example: pd.DataFrame
    params: Mapping[str, object]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    measured: Callable[[str, Mapping[str, Metric]], list[Metric]] | None = None

    def of_model(self, model_id: str, last: Mapping[str, Metric]) -> list[Metric]:
        """The metrics. A metric that the run already has keeps its time, so its history gets no second point."""
        if self.measured:
            return self.measured(model_id, last)
        at = {name: (last[name].timestamp, last[name].step) if name in last else (0, 0) for name in self.metrics}
        return [Metric(name, value, *at[name], model_id=model_id) for name, value in self.metrics.items()]


def log_model(source: ModelSource, data: Path, described: Described, run_id: str, name: str) -> tuple[str, Output]:
    """Log the model whose data are in folder `data` as one of run `run_id`, which need not be the active one.

    Returns its id and its files' record. The model and its run get the metrics described.
    """
    client = mlflow.MlflowClient()
    active, run = mlflow.active_run(), client.get_run(run_id)
    with tempfile.TemporaryDirectory(prefix="model-") as folder:
        model, code = Path(folder, "model"), source.copy_code(Path(folder))
        logged = client.create_logged_model(
            run.info.experiment_id,
            name=name,
            source_run_id=run_id,
            params={key: str(value) for key, value in described.params.items()},
            tags=dict(described.tags),
            model_type=source.kind,
        )
        try:
            # mlflow.pyfunc.log_model knows the active run alone, and gives the model all metrics that its run has.
            LockedPyfunc(source.root).save_model(
                str(model),
                mlflow_model=Model(
                    artifact_path=logged.artifact_location,
                    model_uuid=logged.model_id,
                    run_id=run_id,
                    model_id=logged.model_id,
                ),
                python_model=str(source.file),
                artifacts={PREDICTOR: str(data)},
                code_paths=[str(package) for package in code],
                pip_requirements=source.pins,
                signature=described.signature,
                input_example=described.example,
            )
            client.log_model_artifacts(logged.model_id, str(model))
        except BaseException:
            client.finalize_logged_model(logged.model_id, "FAILED")
            raise
        for owner in {run_id, active.info.run_id if active else run_id}:
            client.log_outputs(owner, [LoggedModelOutput(logged.model_id, step=0)])
        client.finalize_logged_model(logged.model_id, "READY")
    known = described.metrics.keys() & run.data.metrics.keys()
    last = {key: client.get_metric_history(run_id, key)[-1] for key in known}
    client.log_batch(run_id, metrics=described.of_model(logged.model_id, last))
    uri = f"models:/{logged.model_id}"
    with open_artifact(uri) as path:
        return logged.model_id, output_record(path, names.MODEL, uri, VOLATILE)

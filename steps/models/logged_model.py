"""Log a fitted predictor as an MLflow model: signature, example, pinned requirements, code; no pickle, no inference."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import mlflow
import pandas as pd
import yaml
from mlflow.entities import LoggedModelOutput
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, DataType, Schema, TensorSpec

from provenance.record import names
from provenance.record.artifacts import open_artifact, output_record
from provenance.record.code import closure
from provenance.record.lineage import Output
from provenance.registry.model_files import VOLATILE
from steps.pages.split_inputs import measured_on
from taxi.dataset.manifest import Manifest
from taxi.models.predictor import PICKUP, Predictor

DATA_FILES = ("served.py",)  # the model's source: MLflow loads it by path, nothing here imports it
SERVED = ("taxi", "search", "runtime")  # packages that a served model may import
ROOT = Path(__file__).resolve().parents[2]
LOCK = "requirements.lock"
LOCK_FILE = "requirements-lock.txt"  # the lock inside a model, beside MLflow's requirements.txt

_REQUIREMENTS = {
    "linear": ("scikit-learn", "skops", "scipy"),
    "random_forest": ("scikit-learn", "skops", "scipy"),
    "xgboost": ("xgboost", "scipy"),
}


def requirements(family: str) -> list[str]:
    """Pins of what serving imports, as installed here: MLflow warns a user who loads the model with other versions."""
    packages = ("mlflow", "numpy", "pandas", "pyarrow", "threadpoolctl", *_REQUIREMENTS[family])
    return [f"{name}=={importlib.metadata.version(name)}" for name in packages]


class LockedPyfunc:
    """MLflow's pyfunc flavor, whose environment is the project's lock: every package, each file by its hash.

    MLflow's own files name direct dependencies alone; what those pull in would be resolved anew wherever the model
    is served.
    """

    __name__ = "mlflow.pyfunc"

    @staticmethod
    def save_model(path: str, **kwargs: object) -> None:
        mlflow.pyfunc.save_model(path=path, **kwargs)
        folder = Path(path)
        shutil.copy(ROOT / LOCK, folder / LOCK_FILE)
        direct = (folder / "requirements.txt").read_text()
        (folder / "constraints.txt").write_text(direct)
        # MLflow compares the unhashed pins with what is installed where a model is loaded; it cannot read hashed ones.
        (folder / "requirements.txt").write_text(f"-r {LOCK_FILE}\n-c constraints.txt\n")
        python = platform.python_version()
        environment = {"python": python, "build_dependencies": [], "dependencies": ["-r requirements.txt"]}
        (folder / "python_env.yaml").write_text(yaml.safe_dump(environment, sort_keys=False))
        conda = yaml.safe_load((ROOT / "conda.yaml").read_text())
        conda["name"] = "mlflow-env"
        conda["dependencies"] = [
            {"pip": ["-r requirements.txt"]} if isinstance(item, dict) else item for item in conda["dependencies"]
        ]
        (folder / "conda.yaml").write_text(yaml.safe_dump(conda, sort_keys=False))


def signature(taxi: str, intervals: bool) -> ModelSignature:
    """Raw trips in, minutes out; with `intervals` the ends of each duration's interval, too."""
    inputs: list[ColSpec | TensorSpec] = [
        ColSpec(DataType.long, "PULocationID"),
        ColSpec(DataType.long, "DOLocationID"),
        ColSpec(DataType.double, "trip_distance"),
        ColSpec(DataType.datetime, PICKUP[taxi]),
    ]
    answers = ("duration", "duration_low", "duration_high") if intervals else ("duration",)
    return ModelSignature(Schema(inputs), Schema([ColSpec(DataType.double, name) for name in answers]))


def example(taxi: str) -> pd.DataFrame:
    """Two trips of a quiet Sunday and a Monday rush hour."""
    pickup = pd.to_datetime(["2023-03-05 04:10:00", "2023-03-06 17:45:00"])
    return pd.DataFrame(
        {"PULocationID": [74, 74], "DOLocationID": [75, 236], "trip_distance": [1.2, 2.9], PICKUP[taxi]: pickup}
    )


def _copy_of_code(folder: Path) -> list[Path]:
    """SERVED below `folder`, as far as the model reads it: what else lies beside the code goes nowhere with it."""
    for path in closure(ROOT, "steps.models.served"):
        if path.partition("/")[0] in SERVED:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / path, folder / path)
    return [folder / package for package in SERVED if (folder / package).is_dir()]


def model_name(predictor: Predictor, months: Sequence[str]) -> str:
    """What MLflow calls a model that learned of these months: family, taxi, months; no letter that MLflow refuses."""
    first, last = min(months), max(months)
    span = first if first == last else f"{first}-to-{last}"
    return f"{predictor.estimator.family}-{predictor.taxi}-{span}"


def log(predictor: Predictor, run_id: str, name: str, params: Mapping[str, object], metrics: Mapping[str, float],
        tags: Mapping[str, str], manifest: Manifest | None = None,
        description: str = "") -> tuple[str, Output]:  # fmt: skip
    """Log `predictor` as a LoggedModel of run `run_id`, which need not be the active one; its id and its files' record.

    The model and its run get `metrics`, each measured on a split of the dataset that `manifest` is of.
    """
    client = mlflow.MlflowClient()
    active, run = mlflow.active_run(), client.get_run(run_id)
    with tempfile.TemporaryDirectory(prefix="model-") as folder:
        saved, model = Path(folder, "predictor"), Path(folder, "model")
        predictor.save(saved)
        code = _copy_of_code(Path(folder))
        logged = client.create_logged_model(
            run.info.experiment_id,
            name=name,
            source_run_id=run_id,
            params={key: str(value) for key, value in params.items()},
            tags={**tags, **({names.NOTE: description} if description else {})},
            model_type="regressor",
        )
        try:
            # mlflow.pyfunc.log_model knows the active run alone, and gives the model all metrics that its run has.
            LockedPyfunc.save_model(
                str(model),
                mlflow_model=Model(
                    artifact_path=logged.artifact_location,
                    model_uuid=logged.model_id,
                    run_id=run_id,
                    model_id=logged.model_id,
                ),
                python_model=str(ROOT / "steps" / "models" / "served.py"),
                artifacts={"predictor": str(saved)},
                code_paths=[str(package) for package in code],
                pip_requirements=requirements(predictor.estimator.family),
                signature=signature(predictor.taxi, predictor.intervals is not None),
                input_example=example(predictor.taxi),
            )
            client.log_model_artifacts(logged.model_id, str(model))
        except BaseException:
            client.finalize_logged_model(logged.model_id, "FAILED")
            raise
        for owner in {run_id, active.info.run_id if active else run_id}:
            client.log_outputs(owner, [LoggedModelOutput(logged.model_id, step=0)])
        client.finalize_logged_model(logged.model_id, "READY")
    # A metric that the run has already keeps its time, so that its history gets no second point.
    last = {key: client.get_metric_history(run_id, key)[-1] for key in metrics.keys() & run.data.metrics.keys()}
    client.log_batch(run_id, metrics=measured_on(metrics, manifest, logged.model_id, last))
    uri = f"models:/{logged.model_id}"
    with open_artifact(uri) as path:
        return logged.model_id, output_record(path, names.MODEL, uri, VOLATILE)

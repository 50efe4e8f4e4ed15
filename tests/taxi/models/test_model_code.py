"""What MLflow runs when it loads a model is part of the verdict on a repetition, though no digest covers it."""

from __future__ import annotations

import py_compile
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from provenance.record import names
from provenance.record.artifacts import output_record
from provenance.record.lineage import Output
from provenance.registry import model_files
from provenance.reproduce import model_loading
from provenance.reproduce.report import markdown
from provenance.reproduce.verdict import Grade, Made, Verdict, judge
from steps.models import logged_model
from steps.pipeline import PIPELINE
from taxi.models.predictor import Predictor
from tests.support.fitted_models import fitted
from tests.support.records import METRICS, RECORD


class _Features:
    """What a predictor needs of its features here: to be saved."""

    def usual_trips(self) -> list:
        return []

    def save(self, folder: Path) -> None:
        folder.mkdir()
        (folder / "features.json").write_text("{}")


@pytest.fixture
def logged(client, tmp_path):
    """A function that logs one and the same model, and returns its record and its folder."""
    import mlflow

    experiment = client.get_experiment_by_name("trips").experiment_id

    def log(family: str = "linear") -> tuple[Output, Path]:
        with mlflow.start_run(experiment_id=experiment) as run:
            predictor = Predictor("green", _Features(), fitted(family))
            _, output = logged_model.log(predictor, run.info.run_id, names.MODEL, {}, {}, {})
        return output, Path(mlflow.artifacts.download_artifacts(output.uri))

    return log


def made(output: Output) -> Made:
    return Made("1" * 32, replace(RECORD, outputs=(output,)), METRICS, model_loading.settings([output]))


def forged(logged, change) -> Made:
    """A run whose model was changed in its place and whose record was written anew, so that it agrees with itself."""
    output, folder = logged()
    change(folder)
    return made(output_record(folder, names.MODEL, output.uri, model_files.VOLATILE))


def other_code(folder: Path) -> None:
    path = folder / "code" / "taxi" / "models" / "predictor.py"
    path.write_text(path.read_text() + "import os  # anything\n")


def other_source(folder: Path) -> None:
    (folder / "served.py").write_text("import os  # anything\n")


def another_file(folder: Path) -> None:
    (folder / "code" / "sitecustomize.py").write_text("import os  # anything\n")


def without_a_file(folder: Path) -> None:
    (folder / "code" / "taxi" / "features" / "holidays.py").unlink()


def a_pickle_by_another_name(folder: Path) -> None:
    (folder / "weights.txt").write_bytes(b"cos\nsystem\n(S'true'\ntR.")


def other_flavor(folder: Path) -> None:
    said = yaml.safe_load((folder / "MLmodel").read_text())
    said["flavors"]["python_function"]["loader_module"] = "taxi.evil"
    (folder / "MLmodel").write_text(yaml.safe_dump(said))


def no_flavors(folder: Path) -> None:
    (folder / "MLmodel").write_text("a: 1\n")


def aliases_without_end(folder: Path) -> None:
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}, *a{n - 1}]" for n in range(1, 60)]
    (folder / "MLmodel").write_text("\n".join(lines))


def other_requirements(folder: Path) -> None:
    (folder / "requirements.txt").write_text("anything==1\n")


def another_builder(folder: Path) -> None:
    said = yaml.safe_load((folder / "python_env.yaml").read_text())
    said["build_dependencies"].append("pip-anything==1")
    (folder / "python_env.yaml").write_text(yaml.safe_dump(said))


def bytecode_that_is_never_checked(folder: Path) -> None:
    source = folder / "code" / "taxi" / "models" / "predictor.py"
    target = source.parent / "__pycache__" / "predictor.cpython-311.pyc"
    py_compile.compile(str(source), str(target), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)


DIVERGED = {other_code: "model code/taxi/models/predictor.py", other_source: "model served.py",
            another_file: "model code/sitecustomize.py", without_a_file: "model code/taxi/features/holidays.py",
            a_pickle_by_another_name: "model weights.txt", other_flavor: "model MLmodel", no_flavors: "model MLmodel",
            aliases_without_end: "model MLmodel",
            bytecode_that_is_never_checked: "model code/taxi/models/__pycache__/predictor.cpython-311.pyc"}  # fmt: skip
METRICS_ONLY = {other_requirements: "model requirements.txt", another_builder: "model python_env.yaml"}


def test_a_model_that_loads_otherwise_is_not_identical(logged):
    """Made again from the same commit it is; each forgery is named, by its file."""
    (output, _), (again, _) = logged(), logged()
    verdict = judge(made(output), made(again), PIPELINE, same_code=True)
    assert verdict.grade is Grade.IDENTICAL
    assert {str(file) for file, *_ in verdict.loaded} > {
        "model MLmodel",
        "model served.py",
        "model code/taxi/models/predictor.py",
    }
    for change, named in {**DIVERGED, **METRICS_ONLY}.items():
        lie = forged(logged, change)
        assert lie.lineage.outputs[0].digest == output.digest  # which does not cover it
        verdict = judge(lie, made(again), PIPELINE, same_code=True)
        assert verdict.grade is (Grade.DIVERGED if change in DIVERGED else Grade.METRICS), change
        assert named in markdown(Verdict((verdict,)), "Reproduction", {})
        if change in DIVERGED:
            assert named in Verdict((verdict,)).line()


def test_what_no_loading_reads_does_not_count(logged):
    """Hidden files of the maker's folder, another pip, and MLflow's note of the registration."""
    output, _ = logged()

    def harmless(copy: Path) -> None:
        (copy / "code" / "taxi" / ".DS_Store").write_bytes(b"x")
        py_compile.compile(str(copy / "code" / "taxi" / "models" / "predictor.py"))  # as Python does where it is loaded
        (copy / "registered_model_meta").write_text("model_name: x\n")
        for name in ("conda.yaml", "python_env.yaml"):
            (copy / name).write_text((copy / name).read_text().replace("pip==", "pip==9").replace("pip<=", "pip<=9"))

    other = forged(logged, harmless)
    assert judge(other, made(output), PIPELINE, same_code=True).grade is Grade.IDENTICAL


def test_without_the_files_nothing_of_them_is_compared(logged):
    """A bundle has a record's digests and no artifacts; expected.json has not even the names of files."""
    output, _ = logged()
    bundled = replace(made(output), settings={})
    assert judge(bundled, made(output), PIPELINE, same_code=True).grade is Grade.IDENTICAL
    expected = replace(bundled, lineage=replace(RECORD, outputs=(replace(output, files={}, volatile=()),)))
    verdict = judge(expected, made(output), PIPELINE, same_code=True)
    assert verdict.grade is Grade.IDENTICAL
    assert verdict.loaded == ()

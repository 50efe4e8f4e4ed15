"""preprocess: raw months -> the dataset artifact ``dataset/`` (Parquet splits, fitted features, manifest)."""

if __name__ == "__main__":
    from provenance.bootstrap.start import start_step

    start_step()

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import click

from provenance.pipeline.cli import checked
from provenance.pipeline.declaration import Parameters
from provenance.pipeline.step_run import StepRun, run_step
from steps.options import DATA, RUN, StepCommand, options
from steps.raw_months import fetching

if TYPE_CHECKING:
    from mlflow.entities import Metric

    from provenance.pipeline.session import Session
    from provenance.reuse.cache import Hit
    from taxi.dataset.manifest import Manifest
    from taxi.features.feature_set import FeatureSet

Progress: TypeAlias = Callable[[int, int], None]  # rows read, rows to read


@click.command(cls=StepCommand)
@options(*DATA, "engine", *RUN)
@checked
def preprocess(**params: Any) -> None:
    """Turn raw months into a dataset: trips of 1 to 60 minutes, features fitted on the training months alone."""
    from steps.pages import results
    from steps.pipeline import PIPELINE, PREPROCESS

    run_step(PIPELINE, PREPROCESS, params, work, report, about=results.preprocess)


def work(step: StepRun) -> None:
    from provenance.record import names
    from provenance.record.artifacts import log_folder
    from runtime.progress import following
    from steps.pages.split_inputs import log_splits
    from taxi.features.fitting import FEATURE_SETS
    from taxi.months.splits import months

    wanted = months(step.params)
    made = here if step.params["engine"] == "local" else there
    with tempfile.TemporaryDirectory(prefix="dataset-") as folder:
        with following("preprocess", "rows", step.session.progress) as progress:
            manifest = made(step, wanted, FEATURE_SETS[str(step.params["features"])], Path(folder), progress)
        for line in [*kept(manifest), *warned(manifest)]:
            step.say(line)
        step.note = "\n".join(f"- {line}" for line in [*warned(manifest), *kept(manifest)])
        output = log_folder(step.client, step.run_id, Path(folder), names.DATASET, last="manifest.json")
        step.keep(output)
        step.client.log_batch(step.run_id, metrics=figures(step.params, manifest))
        log_splits(step.client, step.run_id, Path(folder), manifest, output.uri)


def here(
    step: StepRun, wanted: Mapping[str, Sequence[str]], feature_set: "FeatureSet", folder: Path, progress: Progress
) -> "Manifest":
    """The dataset, made by this process."""
    from taxi.dataset.dataset import build
    from taxi.sources.locate import locate

    source, taxi = str(step.params["source"]), str(step.params["taxi"])
    with tempfile.TemporaryDirectory() as scratch:
        every = [month for split in wanted.values() for month in split]
        located = {month.name: month for month in locate(source, taxi, every, scratch=Path(scratch), **fetching())}
        record_read(step, {name: month.digest for name, month in located.items()})
        splits = {split: [located[name] for name in months] for split, months in wanted.items()}
        return build(splits, feature_set, folder, progress=progress)


def there(
    step: StepRun, wanted: Mapping[str, Sequence[str]], feature_set: "FeatureSet", folder: Path, progress: Progress
) -> "Manifest":
    """The same dataset, its months written side by side by the workers of a cluster."""
    from steps.worker_code import worker_code
    from taxi.dataset.dataset import build
    from taxi.distributed.cluster_months import months_on
    from taxi.months.month import Month

    source, taxi = str(step.params["source"]), str(step.params["taxi"])
    splits = {split: [Month(taxi, name, Path(), "", source) for name in months] for split, months in wanted.items()}
    every = [month for months in splits.values() for month in months]
    engine, fetch = str(step.params["engine"]), {**fetching(), "progress": False}
    with months_on(engine, worker_code(step), source, every, feature_set.in_month, fetch) as written:
        manifest = build(splits, feature_set, folder, progress=progress, written=written)
    record_read(step, {name: month["sha256"] for name, month in manifest.record["months"].items()})
    return manifest


def kept(manifest: "Manifest") -> list[str]:
    """What was kept of each month, and why the rest was not."""
    lines = []
    for split in manifest.splits:
        for month in manifest.months(split):
            rows = manifest.record["months"][month]
            dropped = sorted(rows["dropped"].items(), key=lambda item: -item[1])
            reasons = ", ".join(f"{count:,} {reason}" for reason, count in dropped) or "none dropped"
            lines.append(f"{split} {month}: kept {rows['kept']:,} of {rows['read']:,} trips ({reasons})")
    return lines


def warned(manifest: "Manifest") -> list[str]:
    """What a person should look at."""
    return [f"warning: {line}" for line in manifest.warnings]


class ChangedWhileRead(ValueError):
    """A raw month that changed between the record and the reading of it."""


def record_read(step: StepRun, read: dict[str, str]) -> None:
    """Record the digests of the months that were read, and refuse those that are no longer what the run's key says.

    The sample is keyed by its recipe, so its digests are known only now. Raises ChangedWhileRead.
    """
    from taxi.sources.locate import sample_rows

    if sample_rows(str(step.params["source"])) is not None:
        step.lineage = step.lineage.having_read(read)
        return
    for name, digest in read.items():
        if digest != step.input(name).digest:
            raise ChangedWhileRead(f"{name} was changed while this run began\n Run again when it is settled.")


def figures(params: Parameters, manifest: "Manifest") -> list["Metric"]:
    """Rows of each split; for the sample also the floor: test RMSE in minutes of a model that knows the city."""
    from mlflow.entities import Metric

    from taxi.sources.locate import sample_rows

    found: dict[str, float] = {f"{split}_rows": manifest.rows(split) for split in manifest.splits}
    rows = sample_rows(str(params["source"]))
    if rows and "test" in manifest.splits:
        from taxi.city.sample import noise_floor

        booked = params["features"] == "pickup"
        found["floor_rmse"] = noise_floor(params["taxi"], manifest.months("test"), rows, distance_known=not booked)
    return [Metric(name, value, 0, 0) for name, value in found.items()]


def report(session: "Session", hit: "Hit") -> list[str]:
    """What the command prints at its end."""
    from provenance.record import names

    output = hit.outputs[names.DATASET]
    return [f"dataset {output.uri}"]


if __name__ == "__main__":
    preprocess()

"""The drift report: how new months differ from a model's training months, and how that changes the model's error."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from taxi.dataset.dataset import Dataset
from taxi.dataset.month_files import ROW_GROUP, regrouped
from taxi.evaluation.drift import Profile, Shift, dropped_shares, shifts, unseen
from taxi.evaluation.error_shift import Carried, Errors, carried, change
from taxi.models.predictor import Predictor
from taxi.months.month import Month
from taxi.months.trips import kept_trips

SHOWN_SLICES = 12
_TOLD_SLICINGS = ("part of the day", "weekday", "distance", "pair in training", "pickup zone")


@dataclass(frozen=True)
class Drift:
    """Training months -> new months for the inputs; judged split (test, or val without one) -> new for the error.

    usual: PSI of each column between the training months and the judged ones: what the model was chosen through.
    read and dropped are of raw records: (training months, new months).
    """

    taxi: str
    spans: dict[str, str]  # train, judged, new: their months
    judged: str
    train: Profile
    new: Profile
    shifts: list[Shift]
    usual: dict[str, float]
    unseen: tuple[dict[str, float], dict[str, float]]  # of the judged and of the new months
    read: tuple[int, int]
    dropped: tuple[Counter[str], Counter[str]]
    before: Errors
    now: Errors

    @property
    def change(self) -> float:
        """Per cent of the judged months' RMSE."""
        return change(self.before, self.now)[0]

    @property
    def moved(self) -> list[Shift]:
        """The columns that did not stay steady."""
        return [shift for shift in self.shifts if shift.level != "steady"]

    def slices(self, *slicings: str) -> list[Carried]:
        """The slices that carry most of the change of the error, whichever way, first."""
        found = [item for slicing in slicings for item in carried(self.before, self.now, slicing)]
        found = [item for item in found if abs(item.total) > 1e-9]
        return sorted(found, key=lambda item: -abs(item.total))

    def metrics(self) -> dict[str, float]:
        """Metrics of a drift run by name: minutes, shares, PSI per column."""
        return {
            "new_trips": self.now.trips,
            "new_rmse": self.now.rmse,
            "new_mae": self.now.mae,
            "new_bias": self.now.bias,
            **({"new_coverage": self.now.coverage} if self.now.covered else {}),
            f"registered_{self.judged}_rmse": self.before.rmse,
            f"registered_{self.judged}_mae": self.before.mae,
            "rmse_change_percent": self.change,
            "unseen_pair_share": self.unseen[1]["pair"],
            "dropped_share": sum(self.dropped[1].values()) / self.read[1],
            **{f"psi_{shift.column}": shift.psi for shift in self.shifts},
        }

    def to_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return {
            "schema": 1,
            "taxi": self.taxi,
            "months": self.spans,
            "judged": self.judged,
            "change_percent": dict(zip(("value", "low", "high"), change(self.before, self.now), strict=True)),
            "metrics": self.metrics(),
            "inputs": [{**shift.to_dict(), "usual_psi": self.usual[shift.column]} for shift in self.shifts],
            "unseen": {self.judged: self.unseen[0], "new": self.unseen[1]},
            "dropped": {
                name: dropped_shares(self.read[side], self.dropped[side]) for side, name in enumerate(("train", "new"))
            },
            "slices": [item.to_dict() for item in self.slices(*_TOLD_SLICINGS)],
        }

    def lines(self) -> list[str]:
        """The result in a few lines."""
        named = ", ".join(f"{shift.column} (PSI {shift.psi:.2f})" for shift in self.moved)
        largest = self.shifts[0]
        found = [
            f"inputs moved: {named}"
            if named
            else f"no input moved (largest PSI {largest.psi:.3f}, {largest.column}; {largest.by_chance:.3f} by chance)"
        ]
        carriers = [item for item in self.slices(*_TOLD_SLICINGS) if item.total * self.change > 0][:3]
        if carriers:
            found.append(f"carried by {', '.join(f'{item.slicing} {item.label}' for item in carriers)}")
        found.append(
            f"new_rmse {self.now.rmse:.4f} min  mae {self.now.mae:.4f}  bias {self.now.bias:+.4f}  "
            f"({self.spans['new']}, {self.now.trips:,} trips)"
        )
        percent, low, high = change(self.before, self.now)
        found.append(f"registered_{self.judged}_rmse {self.before.rmse:.4f} min  ({self.spans['judged']})  "
                     f"changed by {percent:+.1f} % (95 %: {low:+.1f} to {high:+.1f})")  # fmt: skip
        return found


def measure(
    predictor: Predictor,
    dataset: Dataset,
    months: Sequence[Month],
    learned: Sequence[str] = ("train",),
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Drift:
    """Read the dataset the model was made from and the new raw months once, in memory that does not grow with them.

    `learned` are the splits that the model was fitted to: the training months, and where it was refitted the others.
    `progress` is told trips read and trips there are, as far as that is known. Raises DatasetError, SchemaError.
    """
    manifest = dataset.manifest
    judged = "test" if "test" in manifest.splits else "val"
    known = sum(manifest.rows(split) for split in {*learned, judged})
    done = 0

    def followed(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        nonlocal done
        for batch in batches:
            yield batch
            done += batch.num_rows
            progress(done, max(known, done))

    train, seen, new = Profile(), Profile(), Profile()
    for split in learned:
        for batch in followed(dataset.batches(split)):
            train.add(batch)
    before, now = Errors(train.pairs), Errors(train.pairs)
    for batch in followed(dataset.batches(judged)):
        seen.add(batch)
        _judge(predictor, batch, before)
    dropped: Counter[str] = Counter()
    for month in months:
        trips = kept_trips(month, predictor.features.feature_set.in_month, dropped)
        for batch in followed(regrouped(trips, ROW_GROUP)):
            new.add(batch)
            _judge(predictor, batch, now)
    fields = predictor.features.uses
    learned_months = [month for split in learned for month in manifest.months(split)]
    of_train = [manifest.record["months"][month] for month in learned_months]
    names = [month.name for month in months]
    spans = {"train": ", ".join(manifest.month_span(split) for split in learned), "judged": manifest.month_span(judged),
             "new": names[0] if len(names) == 1 else f"{names[0]} .. {names[-1]} ({len(names)} months)"}  # fmt: skip
    return Drift(
        taxi=manifest.taxi,
        spans=spans,
        judged=judged,
        train=train,
        new=new,
        shifts=shifts(train, new, fields),
        usual={shift.column: shift.psi for shift in shifts(train, seen, fields)},
        unseen=(unseen(train, seen), unseen(train, new)),
        read=(sum(month["read"] for month in of_train), now.trips + sum(dropped.values())),
        dropped=(sum((Counter(month["dropped"]) for month in of_train), Counter()), dropped),
        before=before,
        now=now,
    )


def _judge(predictor: Predictor, batch: pa.RecordBatch, errors: Errors) -> None:
    predicted = predictor.predict_valid([batch])
    errors.add(batch, predicted, predictor.intervals.bounds(predicted) if predictor.intervals else None)


def markdown(drift: Drift, model: str) -> str:
    """The report for people; `model` is its URI."""
    judged, new = f"{drift.judged} months {drift.spans['judged']}", drift.spans["new"]
    rows = [("trips", "{:,}", "trips"), ("RMSE (min)", "{:.4f}", "rmse"), ("MAE (min)", "{:.4f}", "mae"),
            ("predicted minus measured (min)", "{:+.4f}", "bias"), *_coverage(drift)]  # fmt: skip
    lines = [f"# Drift: {drift.taxi} {new}", "", *(f"- {line}" for line in [f"model {model}", *drift.lines()]), ""]
    lines += [f"| | {judged} | {new} |", "| --- | --- | --- |"]
    for name, form, which in rows:
        lines.append(f"| {name} | {form.format(getattr(drift.before, which))} "
                     f"| {form.format(getattr(drift.now, which))} |")  # fmt: skip
    return "\n".join([*lines, *_inputs(drift), *_left_out(drift), *_slices(drift)]) + "\n"


def _coverage(drift: Drift) -> list[tuple[str, str, str]]:
    return [("inside their 90 % intervals", "{:.2%}", "coverage")] if drift.now.covered else []


def _inputs(drift: Drift) -> list[str]:
    lines = ["", f"## Inputs, against training months {drift.spans['train']}", ""]
    lines += [f"| column | | PSI | by chance | {drift.judged} months | KS | moved most |", "| --- " * 7 + "|"]
    for shift in drift.shifts:
        most = ", ".join(f"{label} {before:.1%} → {now:.1%}" for label, before, now in shift.most)
        ks = "" if shift.ks is None else f"{shift.ks:.3f}"
        lines.append(f"| {shift.column} | {shift.level} | {shift.psi:.4f} | {shift.by_chance:.4f} "
                     f"| {drift.usual[shift.column]:.4f} | {ks} | {most} |")  # fmt: skip
    lines += ["", "PSI above 0.1, and above what chance alone does, counts as moved; above 0.25 as moved far.", ""]
    lines += [f"| never seen in training | {drift.judged} months | new |", "| --- | --- | --- |"]
    for name in drift.unseen[0]:
        lines.append(f"| {name} | {drift.unseen[0][name]:.2%} | {drift.unseen[1][name]:.2%} |")
    return lines


def _left_out(drift: Drift) -> list[str]:
    before, now = (dropped_shares(drift.read[side], drift.dropped[side]) for side in (0, 1))
    lines = ["", "## Records left out", ""]
    lines += ["| because | training months | new |", "| --- | --- | --- |"]
    lines += [f"| {reason} | {before.get(reason, 0):.3%} | {now.get(reason, 0):.3%} |" for reason in
              sorted({*before, *now})]  # fmt: skip
    return lines


def _slices(drift: Drift) -> list[str]:
    change = drift.now.mse - drift.before.mse
    lines = ["", "## Which trips carry the change of the error", ""]
    lines += [f"The mean squared error changed by {change:+.3f} min². The parts of one kind of slice add up to that:",
              "by the mix (its share of the trips changed), and by the error of its own trips.", ""]  # fmt: skip
    if not drift.slices(*_TOLD_SLICINGS):
        return lines
    lines += ["| slice | share | RMSE (min) | by mix (min²) | by error (min²) |", "| --- " * 5 + "|"]
    for item in drift.slices(*_TOLD_SLICINGS)[:SHOWN_SLICES]:
        lines.append(
            f"| {item.slicing}: {item.label} | {item.share_before:.1%} → {item.share_now:.1%} | "
            f"{_minutes(item.rmse_before)} → {_minutes(item.rmse_now)} | {item.mix:+.3f} | {item.within:+.3f} |"
        )
    return lines


def _minutes(value: float | None) -> str:
    return "none" if value is None else f"{value:.2f}"

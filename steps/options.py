"""This project's parameters, each once: type, default, help. MLproject repeats the defaults; a test compares them."""

from __future__ import annotations

import click

from provenance.pipeline.declaration import RUN
from provenance.pipeline.options import (
    NOT_NEGATIVE,
    POSITIVE,
    ArtifactType,
    EngineType,
    ModelNameType,
    StepCommand,
    YesNoType,
    chosen,
    option,
)
from provenance.pipeline.options import OPTIONS as ENGINE

__all__ = ["DATA", "RUN", "TRIALS", "StepCommand", "options", "xgboost_alone"]

MODELS = ("linear", "random_forest", "xgboost")
FEATURE_SETS = ("course", "full", "pickup")


class MonthsType(click.ParamType):
    """``2023-01``, ``2023-01,2023-03`` or ``2022-01:2022-12``; ``none`` where months may be missing."""

    name = "months"

    def __init__(self, optional: bool = False):
        self.optional = optional

    def convert(self, value, param, ctx):
        from taxi.months.month import parse_months

        try:
            months = parse_months(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if not months and not self.optional:
            self.fail("at least one month is needed, e.g. 2023-01", param, ctx)
        return ",".join(months) if months else "none"


class SourceType(click.ParamType):
    """``sample``, ``tlc``, a URI prefix, or a folder: a relative one is the user's, not the project's."""

    name = "source"

    def convert(self, value, param, ctx):
        from provenance.pipeline.invocation import user_path

        plain = value.split(":")[0] in ("sample", "tlc", "recorded") or "://" in value
        return value if plain else str(user_path(value))


class AutoType(click.ParamType):
    """``auto``, or a value of another type."""

    def __init__(self, kind: click.ParamType):
        self.kind, self.name = kind, kind.name

    def convert(self, value, param, ctx):
        return value if value == "auto" else self.kind.convert(value, param, ctx)


OPTIONS = dict(ENGINE)


def _option(name: str, default: object, kind: object, text: str, called: str = "") -> None:
    """`called`: how `options` calls it, where two commands mean different things by one name."""
    OPTIONS[called or name] = option(name, default, kind, text)


_option("source", "sample", SourceType(), "sample, sample:ROWS, tlc, or a folder or URI prefix that holds the months.")
_option("taxi", "green", click.Choice(["green", "yellow"]), "Which taxi's trips.")
_option("train_months", "2023-01", MonthsType(), "Months to train on.")
_option("val_months", "2023-02", MonthsType(), "Months to choose on.")
_option("test_months", "2023-03", MonthsType(optional=True), "Months to judge on; `none` for no test split.")
_option("features", "full", click.Choice(FEATURE_SETS), "Feature set.")
_option("model", "xgboost", click.Choice(MODELS), "Model family.")
_option("params", "default", ArtifactType("default"), "default, inline JSON, or the URI of a JSON artifact.")
_option(
    "engine",
    "local",
    EngineType(),
    "Where work is done: local, dask://host:port, dask:tls://host:port. Same result.",
)
_option("fit_workers", 1, POSITIVE, "Processes or cluster workers that share the fit; another number: another model.")
_option("trial_timeout", 0.0, NOT_NEGATIVE, "Seconds a trial may take; 0: no limit.")
_option("stop_after", 0, click.IntRange(min=0), "End after so many trials without improvement; 0: never.")
_option("select", "val", click.Choice(["val", "test"]), "Which split chooses among the candidates.")
_option("refit", "train+val", click.Choice(["train", "train+val"]), "Months that the registered model is fitted on.")
_option("model_name", "auto", ModelNameType(), "Registered model; auto: nyc-taxi-duration, for the sample ...-sample.")
_option("model", "auto", str, "URI of a registered model; auto: the champion of real trips, or else the sample's.",
        called="registered")  # fmt: skip
_option("months", "none", MonthsType(optional=True), "New months, to be compared with those the model learned from.")
_option("trips", "none", ArtifactType("none"), "Path or URI of a Parquet or CSV file of raw trips.")
_option("fail_above", 0.0, NOT_NEGATIVE, "Per cent above the model's test RMSE for exit code 1; 0: never.")
_option("retrain_above", 5.0, NOT_NEGATIVE, "Per cent above the champion's test RMSE that retrain; 0: any month.")
for _split in ("train", "val", "test"):
    _option(
        f"{_split}_window", "auto", AutoType(POSITIVE), f"How many {_split} months; auto: as many as the champion's."
    )
_option("max_evals", "auto", AutoType(POSITIVE), "Trials of the search; auto: as the champion was made.",
        called="champions_max_evals")  # fmt: skip
_option("seed", "auto", AutoType(click.IntRange(0, 2**31 - 1)), "Seed of the search and fits; auto: the champion's.",
        called="champions_seed")  # fmt: skip
_option("data", False, YesNoType(), "Put the raw months into the bundle, too.")

options = chosen(OPTIONS)

DATA = ("source", "taxi", "train_months", "val_months", "test_months", "features")
TRIALS = ("max_evals", "batch", "workers", "engine", "trial_timeout", "stop_after", "seed", "top_n")


def xgboost_alone(**params) -> None:
    """For `checked(early=...)`: a step that imports XGBoost need not wait for scikit-learn."""
    import steps.xgboost_alone  # noqa: F401

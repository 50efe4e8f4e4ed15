"""Every parameter once: its type, default and help. MLproject repeats the defaults, and a test holds both together."""

from __future__ import annotations

import os
import re
from collections.abc import Callable

import click

from steps.parameter_secrets import Option

MODELS = ("linear", "random_forest", "xgboost")
MANAGERS = ("uv", "conda", "virtualenv", "local")
GRADES = ("identical", "metrics", "close", "diverged")
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


class ArtifactType(click.ParamType):
    """A URI, a run id, inline JSON or one of `words`; anything else is a path, and a relative one is the user's."""

    name = "uri"

    def __init__(self, *words: str):
        self.words = words

    def convert(self, value, param, ctx):
        from provenance.pipeline.invocation import user_path

        plain = value in self.words or ":/" in value or value.lstrip().startswith("{")
        return value if plain or re.fullmatch(r"[0-9a-f]{32}", value) else str(user_path(value))


class EngineType(click.ParamType):
    """``local``, ``dask://host:port`` or ``dask:tls://``: said before the first step runs, not by the search."""

    name = "engine"

    def convert(self, value, param, ctx):
        if value != "local" and not re.fullmatch(r"dask:(tls:)?//(\[[0-9a-fA-F:]+\]|[^\s/:]+):[0-9]{1,5}", value):
            wanted = "local, nor dask://host:port of a Dask scheduler, nor dask:tls://host:port of one that speaks TLS"
            self.fail(f"{value!r:.100} is not {wanted}", param, ctx)
        return value


class ModelNameType(click.ParamType):
    """A name that MLflow's registry takes: said before the first step runs, not when all is done."""

    name = "name"

    def convert(self, value, param, ctx):
        if not re.fullmatch(r"[^/:\x00-\x1f]{1,256}", value) or not value.strip():
            self.fail(f"{value!r:.100} cannot name a model: 1 to 256 characters, none of them / or :", param, ctx)
        return value


class TrustType(click.ParamType):
    """``experiment``, ``all``, or names of experiments, with commas between them."""

    name = "experiments"

    def convert(self, value, param, ctx):
        words = [word.strip() for word in value.split(",")]
        if not all(words) or ("all" in words and len(words) > 1):
            self.fail(f"{value!r:.100} is not experiment, nor all, nor names of experiments: a,b", param, ctx)
        return ",".join(words)


class YesNoType(click.types.BoolParamType):
    """As click's own, but nothing at all is no answer."""

    def convert(self, value, param, ctx):
        if isinstance(value, str) and not value.strip():
            self.fail("it is empty: give true or false", param, ctx)
        return super().convert(value, param, ctx)


class StepCommand(click.Command):
    """An entry point. What is wrong with its parameters is said as they were given: to `mlflow run`, -P max_evals=."""

    def parse_args(self, ctx, args):
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            if "MLFLOW_RUN_ID" not in os.environ:
                raise
            raise WrongParameter(self._as_given(error)) from None

    def _as_given(self, error: click.UsageError) -> str:
        if isinstance(error, click.NoSuchOption):
            name = error.option_name.lstrip("-").replace("-", "_")
            names = ", ".join(sorted(param.name for param in self.params))
            return f"-P {name:.100} is no parameter of {self.name}; it has: {names}"
        text = error.format_message()
        for param in self.params:
            for flag in param.opts:
                text = text.replace(f"'{flag}'", f"-P {param.name}", 1)
        return text


class WrongParameter(click.ClickException):
    """Said without the usage of a command that the user did not type."""

    exit_code = 2


OPTIONS: dict[str, Callable] = {}


def _option(name: str, default: object, kind: object, text: str, called: str = "") -> None:
    """`called`: how `options` calls it, where two commands mean different things by one name."""
    flag = "--" + name.replace("_", "-")
    OPTIONS[called or name] = click.option(
        flag, name, cls=Option, default=default, type=kind, show_default=True, help=text
    )


POSITIVE = click.IntRange(min=1)

_option("source", "sample", SourceType(), "sample, sample:ROWS, tlc, or a folder or URI prefix that holds the months.")
_option("taxi", "green", click.Choice(["green", "yellow"]), "Which taxi's trips.")
_option("train_months", "2023-01", MonthsType(), "Months to train on.")
_option("val_months", "2023-02", MonthsType(), "Months to choose on.")
_option("test_months", "2023-03", MonthsType(optional=True), "Months to judge on; `none` for no test split.")
_option("features", "full", click.Choice(FEATURE_SETS), "Feature set.")
_option("dataset", "auto", ArtifactType("auto"), "URI of a dataset artifact; auto: find it or make it.")
_option("model", "xgboost", click.Choice(MODELS), "Model family.")
_option("params", "default", ArtifactType("default"), "default, inline JSON, or the URI of a JSON artifact.")
_option("max_evals", 20, POSITIVE, "Trials of the search.")
_option("batch", 4, POSITIVE, "Lag of the search: trial n is suggested from trials 0 .. n - batch.")
_option("workers", 0, click.IntRange(min=0), "Trials at once; 0: all cores or cluster workers. Never changes results.")
_option(
    "engine",
    "local",
    EngineType(),
    "Where work is done: local, dask://host:port, dask:tls://host:port. Same result.",
)
_option("fit_workers", 1, POSITIVE, "Processes or cluster workers that share the fit; another number: another model.")
_option("trial_timeout", 0.0, click.FloatRange(min=0), "Seconds a trial may take; 0: no limit.")
_option("stop_after", 0, click.IntRange(min=0), "End after so many trials without improvement; 0: never.")
_option("seed", 42, click.IntRange(0, 2**31 - 1), "Seed of the search and of every fit.")
_option("search", "auto", ArtifactType("auto"), "An hpo run's id or URI; auto: find it or make it.")
_option("top_n", 5, POSITIVE, "How many of the best trials are candidates.")
_option("select", "val", click.Choice(["val", "test"]), "Which split chooses among the candidates.")
_option("refit", "train+val", click.Choice(["train", "train+val"]), "Months that the registered model is fitted on.")
_option("model_name", "auto", ModelNameType(), "Registered model; auto: nyc-taxi-duration, for the sample ...-sample.")
_option("trust", "experiment", TrustType(), "Whose finished runs to take: experiment, all, or names of experiments.")
_option("reuse", True, YesNoType(), "Take a finished run that did exactly this; false: run anyway.")
_option("quiet", False, YesNoType(), "No progress on stderr.")
_option("draw", False, YesNoType(), "Draw the chain as a Mermaid graph.")
_option("json", False, YesNoType(), "Print JSON, for machines.")
_option("keep_days", 30.0, click.FloatRange(min=0), "Days a run's outputs stay usable for reuse.")
_option("delete", False, YesNoType(), "Really delete; without it nothing is touched.")
_option("run_id", "none", str, "The run, by its id.")
_option("depth", "step", click.Choice(["step", "all"]), "From the recorded inputs, or from the raw months.")
_option("repo", "own", str, "Repository to fetch the code from, if you trust it; own: this checkout's.")
_option("patch", False, YesNoType(), "Apply the run's uncommitted changes: you trust their author.")
_option("env_manager", "auto", click.Choice(["auto", *MANAGERS]), "Environment manager; auto: the recorded one.")
_option("require", "identical", click.Choice(GRADES), "The least grade for exit code 0.")
_option("tolerance", 1e-6, click.FloatRange(min=0), "Relative distance of metrics that still counts as close.")
_option("write", False, YesNoType(), "Write expected.json instead of comparing with it.")
_option("a", "none", str, "One run, by its id.")
_option("b", "none", str, "The other run, by its id.")
_option("prove", False, YesNoType(), "Run a again with one difference at a time taken from b.")
_option("bundle", "none", str, "A bundle to reproduce instead of a run: a file that you trust.")
_option("out", "none", ArtifactType("none"), "The file to write: a path or URI.")
_option("model", "auto", str, "URI of a registered model; auto: the champion of real trips, or else the sample's.",
        called="registered")  # fmt: skip
_option("months", "none", MonthsType(optional=True), "New months, to be compared with those the model learned from.")
_option("trips", "none", ArtifactType("none"), "Path or URI of a Parquet or CSV file of raw trips.")
_option("fail_above", 0.0, click.FloatRange(min=0), "Per cent above the model's test RMSE for exit code 1; 0: never.")
_option("data", False, YesNoType(), "Put the raw months into the bundle, too.")


def options(*wanted: str, **defaults: object) -> Callable:
    """Decorate a command with the named options, in that order; `defaults` replaces a default for this one command."""

    def decorate(command: Callable) -> Callable:
        for name in reversed(wanted):
            option = OPTIONS[name](command)
            if name in defaults:
                option.__click_params__[-1].default = defaults[name]
            command = option
        return command

    return decorate


DATA = ("source", "taxi", "train_months", "val_months", "test_months", "features")
TRIALS = ("max_evals", "batch", "workers", "engine", "trial_timeout", "stop_after", "seed", "top_n")
RUN = ("trust", "reuse", "quiet")

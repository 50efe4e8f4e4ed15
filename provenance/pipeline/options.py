"""The types of parameters, and the parameters that every project has."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping
from typing import Any

import click

from provenance.pipeline.parameter_secrets import Option

MANAGERS = ("uv", "conda", "virtualenv", "local")
GRADES = ("identical", "metrics", "close", "diverged")

Decorator = Callable[[Any], Any]


class ArtifactType(click.ParamType[str]):
    """A URI, a run id, inline JSON or one of `words`. Everything else is a path, made absolute by `user_path`."""

    name = "uri"

    def __init__(self, *words: str) -> None:
        self.words = words

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from provenance.pipeline.invocation import user_path

        plain = value in self.words or ":/" in value or value.lstrip().startswith("{")
        return value if plain or re.fullmatch(r"[0-9a-f]{32}", value) else str(user_path(value))


class EngineType(click.ParamType[str]):
    """``local``, ``dask://host:port`` or ``dask:tls://host:port``. It is checked before the first step runs."""

    name = "engine"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value != "local" and not re.fullmatch(r"dask:(tls:)?//(\[[0-9a-fA-F:]+\]|[^\s/:]+):[0-9]{1,5}", value):
            wanted = "local, nor dask://host:port of a Dask scheduler, nor dask:tls://host:port of one that speaks TLS"
            self.fail(f"{value!r:.100} is not {wanted}", param, ctx)
        return value


class ModelNameType(click.ParamType[str]):
    """A name that MLflow's registry accepts. It is checked before the first step runs."""

    name = "name"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not re.fullmatch(r"[^/:\x00-\x1f]{1,256}", value) or not value.strip():
            self.fail(f"{value!r:.100} cannot name a model: 1 to 256 characters, none of them / or :", param, ctx)
        return value


class TrustType(click.ParamType[str]):
    """``experiment``, ``all``, ``signed``, or names of experiments separated by commas."""

    name = "experiments"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        words = [word.strip() for word in value.split(",")]
        if not all(words) or (len(words) > 1 and {"all", "signed"} & {*words}):
            wanted = "experiment, nor all, nor signed, nor names of experiments: a,b"
            self.fail(f"{value!r:.100} is not {wanted}", param, ctx)
        return ",".join(words)


class NumberType(click.FloatRange):
    """A finite number. Nothing is above or below NaN, so that a check with it would pass whatever happened."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value!r:.100} is no finite number", param, ctx)
        return number


class YesNoType(click.types.BoolParamType):
    """A boolean. Unlike click's own type it refuses an empty value."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, str) and not value.strip():
            self.fail("it is empty: give true or false", param, ctx)
        return super().convert(value, param, ctx)


class StepCommand(click.Command):
    """An entry point. Under `mlflow run` its errors name parameters as the user gave them: `-P max_evals`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            if "MLFLOW_RUN_ID" not in os.environ:
                raise
            raise WrongParameter(self._as_given(error)) from None

    def _as_given(self, error: click.UsageError) -> str:
        if isinstance(error, click.NoSuchOption):
            name = error.option_name.lstrip("-").replace("-", "_")
            names = ", ".join(sorted(str(param.name) for param in self.params))
            return f"-P {name:.100} is no parameter of {self.name}; it has: {names}"
        text = error.format_message()
        for param in self.params:
            for flag in param.opts:
                text = text.replace(f"'{flag}'", f"-P {param.name}", 1)
        return text


class WrongParameter(click.ClickException):
    """A wrong parameter of `mlflow run`. The usage of the step's command is not shown: the user did not type it."""

    exit_code = 2


def option(name: str, default: object, kind: object, text: str) -> Decorator:
    """Make one option of a command. A value that holds a password is refused.

    Parameters
    ----------
    name : str
        Name of the parameter in MLproject, such as "max_evals". The flag is then ``--max-evals``.
    default : object
        Its default.
    kind : object
        Its type: whatever ``click.option`` accepts as ``type``.
    text : str
        Its help.

    Returns
    -------
    Decorator
        Adds the option to a command.
    """
    flag = "--" + name.replace("_", "-")
    return click.option(flag, name, cls=Option, default=default, type=kind, show_default=True, help=text)


POSITIVE = click.IntRange(min=1)
NOT_NEGATIVE = NumberType(min=0)
ABOVE_ZERO = NumberType(min=0, min_open=True)

OPTIONS: Mapping[str, Decorator] = {
    name: option(name, default, kind, text)
    for name, default, kind, text in (
        (
            "trust",
            "experiment",
            TrustType(),
            "Whose finished runs to take: experiment, all, names of experiments, or signed: by a key of trusted_keys/.",
        ),
        ("reuse", True, YesNoType(), "Take a finished run that did exactly this; false: run anyway."),
        ("quiet", False, YesNoType(), "No progress on stderr."),
        (
            "workers",
            0,
            click.IntRange(min=0),
            "Trials at once; 0: all cores or cluster workers. Never changes results.",
        ),
        ("draw", False, YesNoType(), "Draw the chain as a Mermaid graph."),
        ("json", False, YesNoType(), "Print JSON, for machines."),
        ("keep_days", 30.0, NOT_NEGATIVE, "Days a run's outputs stay usable for reuse."),
        ("delete", False, YesNoType(), "Really delete; without it nothing is touched."),
        ("dataset", "auto", ArtifactType("auto"), "URI of a dataset artifact; auto: find it or make it."),
        ("max_evals", 20, POSITIVE, "Trials of the search."),
        ("batch", 4, POSITIVE, "Lag of the search: trial n is suggested from trials 0 .. n - batch."),
        ("seed", 42, click.IntRange(0, 2**31 - 1), "Seed of the search and of every fit."),
        ("search", "auto", ArtifactType("auto"), "A search run's id or URI; auto: find it or make it."),
        ("top_n", 5, POSITIVE, "How many of the best trials are candidates."),
        ("run_id", "none", str, "The run, by its id."),
        ("depth", "step", click.Choice(["step", "all"]), "From the recorded inputs, or from what no step made."),
        ("repo", "own", str, "Repository to fetch the code from, if you trust it; own: this checkout's."),
        ("patch", False, YesNoType(), "Apply the run's uncommitted changes: you trust their author."),
        ("env_manager", "auto", click.Choice(["auto", *MANAGERS]), "Environment manager; auto: the recorded one."),
        ("against", "none", str, "A commit to run and compare with instead of expected.json; Markdown on stdout."),
        ("require", "identical", click.Choice(GRADES), "The least grade for exit code 0."),
        ("tolerance", 1e-6, NOT_NEGATIVE, "Relative distance of metrics that still counts as close."),
        ("write", False, YesNoType(), "Write expected.json instead of comparing with it."),
        ("a", "none", str, "One run, by its id."),
        ("b", "none", str, "The other run, by its id."),
        ("prove", False, YesNoType(), "Run a again with one difference at a time taken from b."),
        ("bundle", "none", str, "A bundle to reproduce instead of a run: a file that you trust."),
        ("out", "none", ArtifactType("none"), "The file to write: a path or URI."),
        ("data", False, YesNoType(), "Put what no step made into the bundle, too."),
        ("of", "none", str, "A file (name, path, digest), run id, models:/name/version, commit or package==version."),
        ("model_name", "auto", ModelNameType(), "Registered model; auto: the project's own."),
    )
}


def chosen(options: Mapping[str, Decorator]) -> Callable[..., Decorator]:
    """Make a function that adds several options to a command.

    Parameters
    ----------
    options : mapping of str to Decorator
        Options by name, each made by `option`.

    Returns
    -------
    callable
        ``choose(*names, **defaults)`` returns a decorator. It adds the options `names`, in this order, and replaces
        the defaults of those in `defaults`. It raises KeyError for a name that is not in `options`.
    """

    def choose(*wanted: str, **defaults: object) -> Decorator:
        def decorate(command: Any) -> Any:
            for name in reversed(wanted):
                command = options[name](command)
                if name in defaults:
                    command.__click_params__[-1].default = defaults[name]
            return command

        return decorate

    return choose


engine_options = chosen(OPTIONS)
NO_OPTIONS = engine_options()
MODEL_NAME = engine_options("model_name")

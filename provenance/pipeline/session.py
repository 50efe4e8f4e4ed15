"""One process's view of the tracking store: its own run, its facts (code, environment, git), look-ups by key."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import click
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from provenance.git import source
from provenance.pipeline.declaration import Pipeline
from provenance.record import code, environment, names
from provenance.record.lineage import Input, Lineage
from provenance.record.validation import printable
from provenance.reuse import cache, trust
from provenance.reuse.cache import Hit, Miss
from provenance.store import project_identity
from provenance.version import ENGINE_VERSION

_RUN_ID = re.compile(r"[0-9a-f]{32}")


class RunError(ValueError):
    """A run id that names no usable run."""


@dataclass
class Session:
    """What an entry point works with. `run` is None where nothing may be logged (`plan`)."""

    pipeline: Pipeline
    client: MlflowClient
    run: Run | None
    quiet: bool = False
    trust: str = trust.EXPERIMENT  # whose runs are taken instead of one's own: see provenance.reuse.trust
    _noted: set[str] = field(default_factory=set, repr=False)

    def say(self, line: str) -> None:
        """One line of progress on stderr."""
        if not self.quiet:
            click.echo(printable(line), err=True)

    @property
    def root(self) -> Path:
        """The folder of the project's MLproject."""
        return self.pipeline.root

    @property
    def open_run(self) -> Run:
        """The run that this process works in. Raises RuntimeError where it has none: nothing may be logged there."""
        if self.run is None:
            raise RuntimeError("nothing may be logged: there is no run")
        return self.run

    @property
    def run_id(self) -> str:
        """The id of `open_run`."""
        run_id: str = self.open_run.info.run_id
        return run_id

    @property
    def progress(self) -> bool:
        """Whether to show progress."""
        return not self.quiet

    @cached_property
    def experiments(self) -> list[str]:
        return cache.experiments(self.client)

    @cached_property
    def project(self) -> str:
        """Which project this is: the mark of the runs that it may end, change or delete."""
        return project_identity.project_of(self.run, self.root)

    @cached_property
    def trusted_experiments(self) -> list[str]:
        """Where finished runs and trials are looked for: see provenance.reuse.trust. Raises TrustError."""
        own = self.run.info.experiment_id if self.run else None
        return trust.experiments(self.client, self.trust, own)

    @property
    def is_own_store(self) -> bool:
        """Whether nobody else writes to the tracking store."""
        return trust.is_own_store(self.client.tracking_uri)

    @cached_property
    def own_experiments(self) -> list[str]:
        """Where only oneself writes, or those one works with: all of one's own store, on a server one experiment."""
        own = self.run.info.experiment_id if self.run else None
        return trust.experiments(self.client, trust.EXPERIMENT, own)

    @cached_property
    def environment(self) -> environment.Environment:
        manager = self.run.data.tags.get(names.PROJECT_ENV, "local") if self.run else "local"
        return environment.current(self.root, manager)

    @cached_property
    def work_tree(self) -> source.WorkTree:
        """The checkout, as it is when the first record is made."""
        return source.WorkTree(self.root)

    def source_of(self, modules: Iterable[str]) -> source.Source:
        """What is recorded of the checkout for code that reads the files `modules`."""
        found = self.work_tree.captured(modules).source
        if found.note and found.note not in self._noted:
            self._noted.add(found.note)
            click.echo(printable(f"this run cannot be reproduced elsewhere: {found.note}"), err=True)
        return found

    def lineage(self, step: str, params: Mapping[str, str], placement: Mapping[str, str],
                inputs: tuple[Input, ...], key_inputs: Mapping[str, str]) -> Lineage:  # fmt: skip
        """The record of `step` in this checkout and environment, not yet with its key."""
        module = f"{self.pipeline.package}.{step}"
        modules = code.closure(self.root, module)
        return Lineage(
            step=step,
            params=dict(params),
            placement=dict(placement),
            inputs=inputs,
            code=modules,
            code_digest=code.digest(modules),
            environment=self.environment.to_dict(),
            environment_key=self.environment.key_part,
            source=self.source_of(modules).to_dict(),
            key_inputs=dict(key_inputs),
            engine=ENGINE_VERSION,
            keyed=tuple(code.closure(self.root, module, self.pipeline.keyed)),
        )

    def code_unchanged(self, lineage: Lineage) -> None:
        """Raises CodeError when the code is no longer what `lineage` says, or was not when it was imported."""
        code.unchanged(self.root, f"{self.pipeline.package}.{lineage.step}", lineage.code)

    def environment_unchanged(self) -> None:
        """Raises EnvironmentChanged when what is installed is no longer what it was."""
        environment.unchanged(self.root, self.environment)

    def find(self, lineage: Lineage) -> Hit | Miss:
        return cache.find(self.client, self.trusted_experiments, lineage, self.pipeline)

    def hit(self, run_id: str, below: tuple[str, ...] = ()) -> Hit:
        """The outputs that run `run_id` left, or those of the run it reused. Raises RunError.

        below: the runs that led here by having reused it.
        """
        if run_id in below:
            raise RunError(f"run {run_id} reused itself, say its tags, which were altered\n Do not use it.")
        try:
            run = self.client.get_run(run_id)
            if reused := run.data.tags.get(names.REUSED):
                hit = self.hit(reused, (*below, run_id))
                if cache.read(run_id).outputs != hit.lineage.outputs:
                    raise RunError(f"run {run_id} reused run {reused}, says a tag, and other outputs, says its record\n"
                                   " One of them was changed after the run: do not use it.")  # fmt: skip
                return hit
            if names.OUTPUTS not in run.data.tags or run.info.status != "FINISHED":
                raise RunError(f"run {run_id} ({run.info.status}) left no finished outputs\n Run its step again.")
            return Hit(run_id, run.data.tags.get(names.USER, "unknown"), run.info.end_time,
                       cache.read_lineage(run), dict(run.data.metrics))  # fmt: skip
        except MlflowException as error:
            raise RunError(f"run {run_id} cannot be read: {error.message}") from error

    def named(self, given: str, maker: str, output_name: str) -> Hit | None:
        """The run of `maker` that a run id or ``runs:/<id>[/<output>]`` names, links followed; None for other URIs.

        Raises RunError when it is a run, but of another step or without that output.
        """
        match = re.fullmatch(rf"(?:runs:/)?({_RUN_ID.pattern})(?:/{output_name})?/?", given)
        if not match:
            return None
        hit = self.hit(match[1])
        if hit.lineage.step != maker or output_name not in hit.outputs:
            raise RunError(f"run {match[1]} is a run of {hit.lineage.step}, not of {maker}\n Give a run of {maker}.")
        return hit

    @staticmethod
    def when(hit: Hit) -> str:
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(hit.end_time / 1000))

"""The session of one process: its run, its code, environment and git checkout, and the search for reusable runs."""

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
from provenance.record.lineage import Input, Lineage, LineageError
from provenance.record.validation import printable
from provenance.reuse import cache, trust
from provenance.reuse.cache import Hit, Miss
from provenance.signing import signatures
from provenance.signing.envelope import SignatureError
from provenance.signing.signatures import Record, RunSigner, Signatures
from provenance.signing.trusted_keys import FOLDER
from provenance.store import project_identity
from provenance.version import ENGINE_VERSION

_RUN_ID = re.compile(r"[0-9a-f]{32}")


class RunError(ValueError):
    """A run id does not name a usable run."""


class NotSigned(LineageError):
    """No trusted key signed the record of a run, and only signed runs are taken."""


@dataclass
class Session:
    """What an entry point works with. `run` is None if nothing may be logged, as in `plan`."""

    pipeline: Pipeline
    client: MlflowClient
    run: Run | None
    quiet: bool = False
    trust: str = trust.EXPERIMENT  # whose runs may be reused: see provenance.reuse.trust
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
        """The run of this process. Raises RuntimeError if it has none, because then nothing may be logged."""
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
        """Ids of all experiments of the store."""
        return cache.experiments(self.client)

    @cached_property
    def project(self) -> str:
        """The identity of this project. The session may end, change or delete only runs that carry it."""
        return project_identity.project_of(self.run, self.root)

    @cached_property
    def trusted_experiments(self) -> list[str]:
        """The experiments whose finished runs and trials may be reused (provenance.reuse.trust). Raises TrustError."""
        own = self.run.info.experiment_id if self.run else None
        return trust.experiments(self.client, self.trust, own)

    @property
    def is_own_store(self) -> bool:
        """Whether only this user writes to the tracking store."""
        return trust.is_own_store(self.client.tracking_uri)

    @cached_property
    def own_experiments(self) -> list[str]:
        """The experiments to which only this user or the team writes.

        That is all of a store that only this user writes to, and on a server the experiment of this run.
        """
        own = self.run.info.experiment_id if self.run else None
        return trust.experiments(self.client, trust.EXPERIMENT, own)

    @cached_property
    def awaited_experiments(self) -> list[str]:
        """The experiments in which a running run with the same key is waited for."""
        own = self.run.info.experiment_id if self.run else None
        return trust.awaited(self.client, self.trust, own)

    @property
    def only_signed(self) -> bool:
        """Whether only runs and trials are taken that a trusted key signed."""
        return self.trust == trust.SIGNED

    @cached_property
    def signatures(self) -> Signatures:
        """Checks signatures against the keys that this checkout trusts."""
        return Signatures(self.root)

    @cached_property
    def signer(self) -> RunSigner | None:
        """Signs what this session makes; None without LINEAGE_SIGNING_KEY. Raises SigningKeyError."""
        return self.signatures.signer()

    def refused(self, record: Record) -> str | None:
        """Why a run is not taken: only signed ones are, and this one is not. None if it is taken."""
        if not self.only_signed:
            return None
        try:
            self.signatures.run(record, signatures.fetch(record.run_id))
        except SignatureError as error:
            return f"run {record.run_id} is not taken: {error}"
        return None

    @cached_property
    def environment(self) -> environment.Environment:
        """The installed packages and how they were installed."""
        manager = self.run.data.tags.get(names.PROJECT_ENV, "local") if self.run else "local"
        return environment.current(self.root, manager)

    @cached_property
    def work_tree(self) -> source.WorkTree:
        """The checkout, as it was when the first record was made."""
        return source.WorkTree(self.root)

    def source_of(self, modules: Iterable[str]) -> source.Source:
        """What is recorded of the checkout, for code that consists of the files `modules`."""
        found = self.work_tree.captured(modules).source
        if found.note and found.note not in self._noted:
            self._noted.add(found.note)
            click.echo(printable(f"this run cannot be reproduced elsewhere: {found.note}"), err=True)
        return found

    def lineage(self, step: str, params: Mapping[str, str], placement: Mapping[str, str],
                inputs: tuple[Input, ...], key_inputs: Mapping[str, str]) -> Lineage:  # fmt: skip
        """The record of `step` in this checkout and environment, without its key."""
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
        """Raise CodeError if the code is not what `lineage` says: now, or when it was imported."""
        code.unchanged(self.root, f"{self.pipeline.package}.{lineage.step}", lineage.code)

    def environment_unchanged(self) -> None:
        """Raise EnvironmentChanged if the installed packages have changed since the first record."""
        environment.unchanged(self.root, self.environment)

    def find(self, lineage: Lineage) -> Hit | Miss:
        """A finished run that may be reused for `lineage`, or why there is none."""
        return cache.find(self.client, self.trusted_experiments, lineage, self.pipeline, self.refused)

    def hit(self, run_id: str, below: tuple[str, ...] = (), own: bool = False) -> Hit:
        """The outputs of run `run_id`, or of the run that it reused. Raises RunError or LineageError.

        below: the runs that were followed to reach this one. It is for the recursion only.
        own: whether this process started the run, so that nobody needs to have signed it.
        """
        if run_id in below:
            raise RunError(f"run {run_id} reused itself, according to its tags: they were altered\n Do not use it.")
        try:
            run = self.client.get_run(run_id)
            if reused := run.data.tags.get(names.REUSED):
                hit, record = self.hit(reused, (*below, run_id), own), cache.read_record(run)
                self._check_signed(record, own)
                if record.lineage.outputs != hit.lineage.outputs:
                    raise RunError(f"run {run_id} reused run {reused}, but its record names other outputs\n"
                                   " One of them was changed after the run: do not use it.")  # fmt: skip
                return hit
            if names.OUTPUTS not in run.data.tags or run.info.status != "FINISHED":
                raise RunError(f"run {run_id} ({run.info.status}) left no finished outputs\n Run its step again.")
            record = cache.read_pinned(run)
            self._check_signed(record, own)
            return Hit(run_id, run.data.tags.get(names.USER, "unknown"), run.info.end_time,
                       record.lineage, dict(run.data.metrics), record)  # fmt: skip
        except MlflowException as error:
            raise RunError(f"run {run_id} cannot be read: {error.message}") from error

    def _check_signed(self, record: Record, own: bool) -> None:
        if not own and (why := self.refused(record)):
            raise NotSigned(f"{why}\n trust=signed takes only what a key of {FOLDER}/ signed (docs/signing.md).")

    def named(self, given: str, maker: str, output_name: str) -> Hit | None:
        """The run of step `maker` that `given` names: a run id or ``runs:/<id>[/<output>]``; None for another URI.

        If that run reused another run, the result is the other run. Raises RunError if the run is of another step or
        lacks the output.
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
        """When the run ended, in local time."""
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(hit.end_time / 1000))

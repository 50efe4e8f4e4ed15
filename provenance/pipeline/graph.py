"""The pipeline as a graph: what each step depends on, its key before it runs, and which step makes its input."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence

from provenance.pipeline import launch
from provenance.pipeline.declaration import RUN, Need, Parameters, Pipeline, Step
from provenance.pipeline.session import RunError, Session
from provenance.record.artifacts import ArtifactError, open_artifact, output_record, problems
from provenance.record.digest import DigestError
from provenance.record.lineage import Input, Lineage, normalise
from provenance.registry import aliases
from provenance.reuse.cache import Hit, Miss, RunProblem, RunProblemKind
from runtime.progress import numbered

AUTO = "auto"
LITTLE = 64_000_000  # bytes; steps that read more run one after the other, since each may need all the memory


class InputError(ValueError):
    """A given input is not what the step needs."""


class WouldBeRefused(ValueError):
    """An earlier step has to run, but nobody would take what it makes: no trusted key would sign it."""


def parameters_for(pipeline: Pipeline, step: Step, params: Parameters) -> dict[str, str]:
    """The parameters for `mlflow run -e <step>`: those of the step and, for the record, of the steps before it."""
    wanted = {*RUN, *pipeline.parameters_of(step)}
    return {name: _text(params[name]) for name in sorted(wanted) if name in params}


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


class Graph:
    """A pipeline with given parameters. It knows each step's record and key, and finds or makes its outputs.

    Each step is looked up once. `reused` and `ran` list the steps whose run was found and those that ran.
    """

    def __init__(self, session: Session, params: Parameters):
        self.session, self.pipeline = session, session.pipeline
        self.params: dict[str, object] = {**self.pipeline.fixed, **params}
        self.made: dict[str, Hit] = {}
        self.reused: list[str] = []
        self.ran: list[str] = []

    def make(self, steps: Sequence[str], chain: str, *, reuse: bool = True) -> dict[str, Hit]:
        """The outputs of several steps of entry point `chain`, by step, each after the steps that it needs.

        Steps that run and do not need each other run side by side, unless they read much: then each has the machine's
        memory to itself.
        """
        numbers = numbered(steps, chain)
        for group in self.pipeline.independent(steps):
            together = all(map(self._reads_little, group))
            to_run: dict[str, dict[str, str]] = {}
            for name in itertools.islice(numbers, len(group)):
                to_run |= self._unless_made(name, reuse)
                if not together:
                    self._run(to_run)
                    to_run = {}
            self._run(to_run)
        return {name: self.made[name] for name in steps}

    def made_by(self, name: str, *, reuse: bool = True) -> Hit:
        """The outputs of step `name` with these parameters: those of a finished run, or of a run that starts now."""
        self._run(self._unless_made(name, reuse))
        return self.made[name]

    def _unless_made(self, name: str, reuse: bool) -> dict[str, dict[str, str]]:
        """Step `name` with the parameters for its run. Empty if its outputs are known or a finished run has them."""
        if name in self.made:
            return {}
        step = self.pipeline.step(name)
        lineage = self.lineage(step, self.made_by)
        found = self.found(step, lineage) if reuse else Miss()
        if isinstance(found, Hit):
            self.session.say(f"{name}: reused run {found.run_id} (by {found.user}, {self.session.when(found)})")
            self.reused.append(name)
            self.made[name] = found
            return {}
        for reason in found.reasons:
            self.session.say(f"{name}: cannot reuse: {reason}")
        self._check_can_be_taken(name)
        given = {item.role: item.uri for item in lineage.inputs}
        parameters = parameters_for(self.pipeline, step, self.params)
        return {name: parameters | {need.param: given[need.param] for need in step.needs}}

    def _run(self, steps: Mapping[str, Mapping[str, str]]) -> None:
        """Run these steps, given with their parameters, side by side."""
        if steps:
            for name, run in launch.launch_all(self.session, steps).items():
                self.made[name] = self.session.hit(run.info.run_id)
                self.ran.append(name)

    def _reads_little(self, name: str) -> bool:
        """Whether step `name` reads outputs alone, all known and small together."""
        step = self.pipeline.step(name)
        if step.external or any(need.step not in self.made for need in step.needs):
            return False
        read = [self.made[need.step].outputs[need.output] for need in step.needs]
        return sum(size for output in read for size, _ in output.files.values()) <= LITTLE

    def _check_can_be_taken(self, name: str) -> None:
        """Raise WouldBeRefused before the run of step `name` starts, if only signed runs are taken and it is not."""
        session = self.session
        if session.only_signed and (why := session.signatures.not_trusted(session.signer)):
            raise WouldBeRefused(f"trust=signed: {name} has to run, and what it makes would not be taken: {why}")

    def found(self, step: Step, lineage: Lineage) -> Hit | Miss:
        """A finished run that can be reused instead of running `step`, or the reasons why there is none.

        Its outputs must be complete. If the step registers a model version, its aliases must be in place as well.
        They are not checked if the version was made after this run started: when several runs ask for the same
        version at once, only one of them registers it, and the others take it even if an alias has moved since.
        """
        found = self.session.find(lineage)
        if not step.registers or not isinstance(found, Hit):
            return found
        run = self.session.run
        if run and found.end_time >= run.info.start_time:
            return found
        moved = aliases.moved(self.session.client, found)
        return Miss((RunProblem(RunProblemKind.ALIAS_MOVED, found.run_id, moved),)) if moved else found

    def lineage(self, step: Step, made_by: Callable[[str], Hit]) -> Lineage:
        """The record that `step` starts with. `made_by` makes the output of an earlier step if none is given."""
        external, digests = self._external(step)
        given = tuple(self._input(need, made_by) for need in step.needs)
        if step.complete:
            self.params |= step.complete(self.session, self.params, given)
        key_inputs = digests and {**digests, **{item.role: item.digest for item in given}}
        return self._record(step, (*external, *given), key_inputs).with_key()

    def bare(self, step: Step) -> Lineage:
        """The record of `step` before its inputs are known, without a key. It stays if the step fails early."""
        return self._record(step, (), {})

    def _record(self, step: Step, inputs: tuple[Input, ...], key_inputs: Mapping[str, str]) -> Lineage:
        return self.session.lineage(
            step=step.name,
            params={name: normalise(self.params[name]) for name in step.params},
            placement={
                name: normalise(self.params[name]) for name in (*step.placement, "trust") if name in self.params
            },
            inputs=inputs,
            key_inputs=key_inputs,
        )

    def _external(self, step: Step) -> tuple[tuple[Input, ...], Mapping[str, str]]:
        """The external inputs of `step`, and the digests of them that the key contains."""
        if step.external is None:
            return (), {}
        location = str(self.params[step.external.location])
        digests = step.external.digests(location, self.params, step.external.roles(self.params))
        return tuple(Input(role, location, digest) for role, digest in digests.items()), digests

    def _input(self, need: Need, made_by: Callable[[str], Hit]) -> Input:
        given = str(self.params.get(need.param, AUTO))
        try:
            if given == AUTO:
                output = made_by(need.step).outputs[need.output]
            elif hit := self.session.named(given, need.step, need.output):
                output = hit.outputs[need.output]
                if damaged := problems(output):
                    raise InputError(f"{'; '.join(map(str, damaged))}\n Run {need.step} again.")
            elif self.session.only_signed:
                raise InputError(f"no run made it, so nobody signed it\n trust=signed needs a run of {need.step}.")
            else:
                with open_artifact(given, given=True) as folder:
                    output = output_record(folder, need.output, given)
        except (ArtifactError, DigestError, InputError, RunError) as error:
            raise InputError(f"{need.param} {given!r:.200}: {error}") from error
        return Input(need.param, output.uri, output.digest)

"""The chain as a graph: what each step depends on, its key before it runs, and who makes its input."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from provenance.pipeline import launch
from provenance.pipeline.session import RunError, Session
from provenance.record.artifacts import ArtifactError, open_artifact, output_record, problems
from provenance.record.digest import DigestError
from provenance.record.lineage import Input, Lineage, normalise
from provenance.registry import aliases
from provenance.reuse.cache import Hit, Miss

AUTO = "auto"


@dataclass(frozen=True)
class Step:
    """One entry point that leaves outputs: which parameters can change them, and which step makes its input.

    `result` parameters are part of the key, `placement` ones are only recorded. `needs` is the parameter that
    takes the input's URI, the step that makes it and the name of the output there; None for the first step.
    """

    name: str
    result: tuple[str, ...]
    placement: tuple[str, ...] = ()
    needs: tuple[str, str, str] | None = None
    registers: bool = False  # a version, which stands for a run only as long as its aliases do


class InputError(ValueError):
    """An input that was named and is not what the step needs."""


def parameters_for(steps: Mapping[str, Step], step: Step, params: Mapping[str, object]) -> dict[str, str]:
    """What `mlflow run -e <step>` is given: what it takes, and for the record what the steps before it took."""
    wanted, maker = {"trust", "reuse", "quiet"}, step
    while True:
        wanted |= {*maker.result, *maker.placement}
        if maker.needs is None:
            break
        maker = steps[maker.needs[1]]
    return {name: _text(params[name]) for name in sorted(wanted) if name in params}


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


class Graph:
    """One user's wish (parameters) over the steps: what each step's record and key will be, and its outputs.

    Each step is looked up once; `reused` and `ran` say afterwards what happened.
    """

    steps: ClassVar[Mapping[str, Step]]  # of a project, by name
    fixed: ClassVar[Mapping[str, object]] = {}  # parameters that a chain has no say in

    def __init__(self, session: Session, params: Mapping[str, object]):
        self.session, self.params = session, self.fixed | params
        self.made: dict[str, Hit] = {}
        self.reused: list[str] = []
        self.ran: list[str] = []

    def made_by(self, name: str, *, reuse: bool = True) -> Hit:
        """The outputs of step `name` under these parameters: a finished run's, or those of a run made now."""
        if name not in self.made:
            step = self.steps[name]
            lineage = self.lineage(step, self.made_by)
            found = self.found(step, lineage) if reuse else Miss()
            if isinstance(found, Hit):
                self.session.say(f"{name}: reused run {found.run_id} (by {found.user}, {self.session.when(found)})")
                self.reused.append(name)
            else:
                for reason in found.reasons:
                    self.session.say(f"{name}: cannot reuse: {reason}")
                parameters = parameters_for(self.steps, step, self.params)
                if step.needs:
                    parameters[step.needs[0]] = lineage.inputs[0].uri
                run = launch.launch(self.session.client, self.session.run, name, parameters)
                found = self.session.hit(run.info.run_id)
                self.ran.append(name)
            self.made[name] = found
        return self.made[name]

    def found(self, step: Step, lineage: Lineage) -> Hit | Miss:
        """A finished run that stands for running `step`: its outputs whole and, for a version, its aliases in place.

        A version that was made after this run was asked for is what it asked for: of many that ask for the same at
        once one registers, whoever moved an alias since.
        """
        found = self.session.find(lineage)
        if not step.registers or not isinstance(found, Hit):
            return found
        run = self.session.run
        if run and found.end_time >= run.info.start_time:
            return found
        moved = aliases.moved(self.session.client, found)
        return Miss((moved,)) if moved else found

    def lineage(self, step: Step, made_by: Callable[[str], Hit]) -> Lineage:
        """The record `step` would start with; `made_by` is asked for the step before when its output is not given."""
        if step.needs is None:
            return self._record(step, *self.external_inputs()).with_key()
        given = self._input(step.needs, made_by)
        self.completed_by(step, given)
        return self._record(step, (given,), {}).with_key()

    def bare(self, step: Step) -> Lineage:
        """The record of `step` before its inputs are known, without a key: what a crash at the very start leaves."""
        return self._record(step, (), {})

    def _record(self, step: Step, inputs: tuple[Input, ...], key_inputs: Mapping[str, str]) -> Lineage:
        return self.session.lineage(
            step=step.name,
            params={name: normalise(self.params[name]) for name in step.result},
            placement={
                name: normalise(self.params[name]) for name in (*step.placement, "trust") if name in self.params
            },
            inputs=inputs,
            key_inputs=key_inputs,
        )

    def external_inputs(self) -> tuple[tuple[Input, ...], dict[str, str]]:
        """What no step made: inputs, and the digests by which the key goes; a project says."""
        raise NotImplementedError

    def completed_by(self, step: Step, given: Input) -> None:
        """Parameters that only the input of `step` tells; a project may have some."""

    def _input(self, needs: tuple[str, str, str], made_by: Callable[[str], Hit]) -> Input:
        role, maker, output_name = needs
        given = str(self.params.get(role, AUTO))
        try:
            if given == AUTO:
                output = made_by(maker).outputs[output_name]
            elif hit := self.session.named(given, maker, output_name):
                output = hit.outputs[output_name]
                if damaged := problems(output):
                    raise InputError(f"{'; '.join(damaged)}\n Run {maker} again.")
            else:
                with open_artifact(given, given=True) as folder:
                    output = output_record(folder, output_name, given)
        except (ArtifactError, DigestError, InputError, RunError) as error:
            raise InputError(f"{role} {given!r:.200}: {error}") from error
        return Input(role, output.uri, output.digest)

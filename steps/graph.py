"""The chain as a graph: what each step depends on, its key before it runs, and who makes its input."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from taxi.months import parse_months
from tracking import aliases, chain, names
from tracking.artifacts import ArtifactError, fetched, problems, record
from tracking.cache import Hit, Miss
from tracking.digest import DigestError
from tracking.judged_on import city_of, dataset_behind, model_name_for, model_name_of
from tracking.lineage import Input, Lineage, normalise
from tracking.session import RunError, Session

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


PREPROCESS = Step(
    "preprocess", ("taxi", "train_months", "val_months", "test_months", "features"), placement=("source", "engine")
)
TRAIN = Step(
    "train",
    ("model", "params", "seed", "fit_workers"),
    placement=("engine",),
    needs=("dataset", "preprocess", names.DATASET),
)
HPO = Step(
    "hpo",
    ("model", "max_evals", "batch", "seed", "top_n", "trial_timeout", "stop_after"),
    placement=("workers", "engine"),
    needs=("dataset", "preprocess", names.DATASET),
)
REGISTER = Step("register", ("top_n", "select", "refit", "model_name"), needs=("search", "hpo", names.SEARCH))

STEPS = {step.name: step for step in (PREPROCESS, TRAIN, HPO, REGISTER)}
CHAIN = ("preprocess", "train", "hpo", "register")
SPLITS = ("train", "val", "test")
ALONE = {"fit_workers": 1}  # how a chain fits, which has no parameter for it


def months(params: Mapping[str, object]) -> dict[str, tuple[str, ...]]:
    """Split name -> its months. Raises MonthsError when a month is in two splits."""
    split_months = {split: parse_months(str(params[f"{split}_months"])) for split in SPLITS}
    seen: dict[str, str] = {}
    for split, wanted in split_months.items():
        for month in wanted:
            if month in seen:
                raise MonthsError(
                    f"{month} is both a {seen[month]} and a {split} month: a model would be judged on what it saw\n"
                    f" Choose other {seen[month]}_months or {split}_months."
                )
            seen[month] = split
    return {split: wanted for split, wanted in split_months.items() if wanted}


class MonthsError(ValueError):
    """Months that cannot be split as asked."""


class InputError(ValueError):
    """An input that was named and is not what the step needs."""


def parameters_for(step: Step, params: Mapping[str, object]) -> dict[str, str]:
    """What `mlflow run -e <step>` is given: what it takes, and for the record what the steps before it took."""
    wanted, maker = {"trust", "reuse", "quiet"}, step
    while True:
        wanted |= {*maker.result, *maker.placement}
        if maker.needs is None:
            break
        maker = STEPS[maker.needs[1]]
    return {name: _text(params[name]) for name in sorted(wanted) if name in params}


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


class Graph:
    """One user's wish (parameters) over the steps: what each step's record and key will be, and its outputs.

    Each step is looked up once; `reused` and `ran` say afterwards what happened.
    """

    def __init__(self, session: Session, params: Mapping[str, object]):
        self.session, self.params = session, ALONE | params
        if self.params.get("search", AUTO) == AUTO and self.params.get("model_name") == AUTO:
            self.params["model_name"] = model_name_for(str(self.params["source"]))
        self.made: dict[str, Hit] = {}
        self.reused: list[str] = []
        self.ran: list[str] = []

    def made_by(self, name: str, *, reuse: bool = True) -> Hit:
        """The outputs of step `name` under these parameters: a finished run's, or those of a run made now."""
        if name not in self.made:
            step = STEPS[name]
            lineage = self.lineage(step, self.made_by)
            found = self.found(step, lineage) if reuse else Miss()
            if isinstance(found, Hit):
                self.session.say(f"{name}: reused run {found.run_id} (by {found.user}, {self.session.when(found)})")
                self.reused.append(name)
            else:
                for reason in found.reasons:
                    self.session.say(f"{name}: cannot reuse: {reason}")
                parameters = parameters_for(step, self.params)
                if step.needs:
                    parameters[step.needs[0]] = lineage.inputs[0].uri
                run = chain.launch(self.session.client, self.session.run, name, parameters)
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
        if step is not REGISTER or not isinstance(found, Hit):
            return found
        run = self.session.run
        if run and found.end_time >= run.info.start_time:
            return found
        moved = aliases.moved(self.session.client, found)
        return Miss((moved,)) if moved else found

    def lineage(self, step: Step, made_by: Callable[[str], Hit]) -> Lineage:
        """The record `step` would start with; `made_by` is asked for the step before when its output is not given."""
        if step.needs is None:
            return self._record(step, *self._months()).with_key()
        given = self._input(step.needs, made_by)
        if step is REGISTER and self.params["model_name"] == AUTO:  # of a search that was named
            self.params["model_name"] = model_name_of(city_of(self.session, dataset_behind(self.session, given)))
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

    def _months(self) -> tuple[tuple[Input, ...], dict[str, str]]:
        from taxi.sources import known_digests

        source, taxi = str(self.params["source"]), str(self.params["taxi"])
        wanted = sorted({month for split in months(self.params).values() for month in split})
        digests = known_digests(source, taxi, wanted, **self.session.fetch)
        return tuple(Input(month, source, digest) for month, digest in digests.items()), digests

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
                with fetched(given, given=True) as folder:
                    output = record(folder, output_name, given)
        except (ArtifactError, DigestError, InputError, RunError) as error:
            raise InputError(f"{role} {given!r:.200}: {error}") from error
        return Input(role, output.uri, output.digest)

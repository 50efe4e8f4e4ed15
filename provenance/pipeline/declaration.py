"""The declaration of a project: its steps, what each step needs, its external inputs and its headline metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from provenance.pipeline.session import Session
    from provenance.record.lineage import Input

RUN = ("trust", "reuse", "quiet")  # parameters that every step and chain has
Parameters = Mapping[str, Any]  # of an entry point, by name: click gives each the type of its option


@dataclass(frozen=True)
class Metric:
    """A headline metric: one that people ask about first.

    Parameters
    ----------
    name : str
        Name of the metric in MLflow.
    unit : str, optional
        Unit of the metric. An empty string means that it has none.
    greater_is_better : bool, optional
        Whether a higher value is better. False for errors.
    """

    name: str
    unit: str = ""
    greater_is_better: bool = False


@dataclass(frozen=True)
class Need:
    """The output of another step that a step reads.

    Parameters
    ----------
    param : str
        The parameter that names the output. Its value is the output's URI, the id of the run that made it, or auto.
    step : str
        Name of the step that makes the output.
    output : str
        Name of the output.
    """

    param: str
    step: str
    output: str


class ExternalInputs(Protocol):
    """Files that a step reads and that no step made. Each file has a role: its name in the record and in the key.

    Attributes
    ----------
    noun : str
        What a message calls one of the files, such as "CSV file".
    location : str
        The parameter that says where the files are on this machine. It cannot change the result.
    remedy : str
        How a user gives the location, such as "-P source=FOLDER".
    selected_by : tuple of str
        The parameters that choose which files are read.
    folder : str
        The folder of a bundle that holds the files.
    """

    noun: str
    location: str
    remedy: str
    selected_by: tuple[str, ...]
    folder: str

    def roles(self, params: Parameters) -> tuple[str, ...]:
        """The roles of the files that are read with these parameters.

        Parameters
        ----------
        params : mapping of str to object
            Parameters of the step, by name.

        Returns
        -------
        tuple of str
            The roles, in the order in which they are recorded.

        Raises
        ------
        ValueError
            If the parameters choose no valid files.
        """
        ...

    def digests(self, location: str, params: Parameters, roles: Iterable[str]) -> Mapping[str, str]:
        """The digests of the files, which become part of the key.

        Parameters
        ----------
        location : str
            Where the files are.
        params : mapping of str to object
            Parameters of the step, by name.
        roles : iterable of str
            The roles of the wanted files.

        Returns
        -------
        mapping of str to str
            Role to SHA-256, hex: of the file's bytes, or of its recipe if the code makes the file.

        Raises
        ------
        ValueError
            If a file is missing or cannot be read.
        """
        ...

    def files(self, location: str, params: Parameters, roles: Iterable[str]) -> Mapping[str, Path]:
        """The files themselves, on this machine.

        Parameters
        ----------
        location : str
            Where the files are.
        params : mapping of str to object
            Parameters of the step, by name.
        roles : iterable of str
            The roles of the wanted files.

        Returns
        -------
        mapping of str to Path
            Role to the path of a local file.

        Raises
        ------
        ValueError
            If a file is missing or cannot be fetched.
        """
        ...

    def file_name(self, params: Parameters, role: str) -> str:
        """The name that the file of role `role` has at a location."""
        ...

    def made_by_code(self, location: str) -> bool:
        """Whether the code makes the files at `location`. If so, the key contains the digest of the recipe."""
        ...

    def same_for_everybody(self, location: str) -> bool:
        """Whether `location` means the same on each machine.

        Only then does `reproduce` take it from a record. It never opens a folder or an address that a record names,
        because the record may come from a stranger.
        """
        ...


@dataclass(frozen=True)
class Step:
    """One entry point that makes outputs.

    Parameters
    ----------
    name : str
        Name of the entry point, and of its module in the pipeline's package.
    params : tuple of str
        Parameters that can change the outputs. They are part of the key.
    placement : tuple of str, optional
        Parameters that cannot change the outputs, such as the number of workers. They are recorded only.
    needs : tuple of Need, optional
        The outputs of other steps that this step reads.
    external : ExternalInputs, optional
        The files that this step reads and that no step made.
    searches : bool, optional
        Whether the step runs trials and leaves candidates to register.
    registers : bool, optional
        Whether the step registers a model version. Such a run is reused only while its aliases stay in place.
    complete : callable, optional
        ``complete(session, params, inputs)`` returns parameters whose values depend on the step's inputs.
    """

    name: str
    params: tuple[str, ...]
    placement: tuple[str, ...] = ()
    needs: tuple[Need, ...] = ()
    external: ExternalInputs | None = None
    searches: bool = False
    registers: bool = False
    complete: Callable[[Session, Parameters, tuple[Input, ...]], Mapping[str, str]] | None = None


@dataclass(frozen=True)
class Pipeline:
    """The declaration of a project.

    Parameters
    ----------
    root : Path
        The folder of the project's MLproject file.
    steps : tuple of Step
        All steps. Each comes after the steps that it needs.
    headline : tuple of Metric
        The metrics that reports show first.
    keyed : tuple of str
        The packages that compute results. Their code is part of each step's key, and so is the step's own module.
    chains : tuple of str, optional
        The entry points that run several steps.
    fixed : mapping of str to str, optional
        Values of step parameters that the chains do not offer.
    package : str, optional
        The package that holds one module for each entry point.
    registered_models : mapping of str to str, optional
        The names that ``model_name=auto`` stands for, each with a description. The first name that has a champion
        is taken.
    """

    root: Path
    steps: tuple[Step, ...]
    headline: tuple[Metric, ...]
    keyed: tuple[str, ...]
    chains: tuple[str, ...] = ("main",)
    fixed: Mapping[str, str] = field(default_factory=dict)
    package: str = "steps"
    registered_models: Mapping[str, str] = field(default_factory=dict)

    def step(self, name: str) -> Step:
        """The step called `name`. Raises KeyError if there is none."""
        return self.by_name[name]

    @property
    def by_name(self) -> dict[str, Step]:
        return {step.name: step for step in self.steps}

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the steps in the order in which they run."""
        return tuple(step.name for step in self.steps)

    def independent(self, names: Sequence[str]) -> list[list[str]]:
        """The steps `names`, in their order, in groups. No step of a group needs another one of it, even indirectly."""
        groups: list[list[str]] = []
        for name in names:
            if groups and not self._above(name) & set(groups[-1]):
                groups[-1].append(name)
            else:
                groups.append([name])
        return groups

    def _above(self, name: str) -> set[str]:
        """The steps that step `name` needs, directly or not."""
        direct = {need.step for need in self.step(name).needs}
        return direct.union(*(self._above(step) for step in direct))

    @property
    def location(self) -> str:
        """The parameter that says where the external inputs are; "" if the project has none."""
        return next((step.external.location for step in self.steps if step.external), "")

    @property
    def placement(self) -> set[str]:
        """The parameters, of all steps, that cannot change a result."""
        return {name for step in self.steps for name in step.placement} | set(RUN)

    def parameters_of(self, *steps: Step) -> tuple[str, ...]:
        """The parameters of `steps`, then those of all steps from which they need an output, each once."""
        found: dict[str, None] = {}
        pending = list(steps)
        while pending:
            step = pending.pop(0)
            found |= dict.fromkeys((*step.params, *step.placement))
            pending += [self.step(need.step) for need in step.needs]
        return tuple(found)

    @property
    def repeatable(self) -> str:
        """The entry points whose runs can be repeated, as text for a message."""
        return ", ".join((*self.chains, *self.names))

    def external(self, name: str) -> ExternalInputs | None:
        """The external inputs of step `name`; None if it has none or is not declared."""
        step = self.by_name.get(name)
        return step.external if step else None

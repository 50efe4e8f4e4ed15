"""A project, declared once as data: its steps, what each needs of which, what no step made, what its results are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from provenance.pipeline.session import Session
    from provenance.record.lineage import Input

Parameters = Mapping[str, object]  # of an entry point, by name


@dataclass(frozen=True)
class Metric:
    """A metric that people ask about first, with its unit ("" for none)."""

    name: str
    unit: str = ""
    greater_is_better: bool = False


@dataclass(frozen=True)
class Need:
    """The output of another step. `param` takes its URI, or the id of the run that made it, or auto."""

    param: str
    step: str
    output: str


class ExternalInputs(Protocol):
    """Files that no step made. Each has a role, by which the record and the key know it."""

    noun: str  # one of them, in a sentence: "CSV file"
    location: str  # the parameter that says where they lie on this machine: it cannot change the result
    remedy: str  # how a user says where: "-P source=FOLDER"
    selected_by: tuple[str, ...]  # the parameters that choose which are read
    folder: str  # where a bundle keeps them

    def roles(self, params: Parameters) -> tuple[str, ...]:
        """Which are read under these parameters. Raises ValueError."""
        ...

    def digests(self, location: str, params: Parameters, roles: Iterable[str]) -> Mapping[str, str]:
        """Role -> SHA-256 of the file at `location`, or of the recipe where the code makes it. Raises ValueError."""
        ...

    def files(self, location: str, params: Parameters, roles: Iterable[str]) -> Mapping[str, Path]:
        """Role -> the file, on this machine. Raises ValueError."""
        ...

    def file_name(self, params: Parameters, role: str) -> str:
        """The name under which a file is looked for at a location."""
        ...

    def made_by_code(self, location: str) -> bool:
        """Whether the files at `location` are made by the code: then it is what the key goes by."""
        ...

    def same_for_everybody(self, location: str) -> bool:
        """Whether `location` is no folder or address that a record could choose for its reader."""
        ...


@dataclass(frozen=True)
class Step:
    """One entry point that leaves outputs.

    `params` can change them and are part of the key; `placement` ones are only recorded. `complete` gives parameters
    that only the step's input can tell.
    """

    name: str
    params: tuple[str, ...]
    placement: tuple[str, ...] = ()
    needs: tuple[Need, ...] = ()
    external: ExternalInputs | None = None
    searches: bool = False  # leaves trials, and candidates to register
    registers: bool = False  # a model version, which stands for a run only as long as its aliases do
    complete: Callable[[Session, Parameters, tuple[Input, ...]], Mapping[str, str]] | None = None


@dataclass(frozen=True)
class Pipeline:
    """All steps, each after those it needs.

    `root` is the folder of its MLproject. `chains` are the entry points that run all or several of the steps; `fixed`
    are parameters that a chain has none of. `keyed` are the packages that compute results; the step's own module
    belongs to its key in any case. `registered_models` are the names that auto stands for, the first that has a
    champion, each with what is said of it.
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
        """The step called `name`. Raises KeyError."""
        return self.by_name[name]

    @property
    def by_name(self) -> dict[str, Step]:
        return {step.name: step for step in self.steps}

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(step.name for step in self.steps)

    @property
    def location(self) -> str:
        """The parameter that says where external inputs lie; "" where there are none."""
        return next((step.external.location for step in self.steps if step.external), "")

    @property
    def placement(self) -> set[str]:
        """Parameters of any step that cannot change a result."""
        return {name for step in self.steps for name in step.placement} | {"trust", "reuse", "quiet"}

    @property
    def repeatable(self) -> str:
        """The entry points whose runs can be repeated, for a sentence."""
        return ", ".join((*self.chains, *self.names))

    def external(self, name: str) -> ExternalInputs | None:
        """What step `name` reads that no step made; None also for a step that is not declared."""
        step = self.by_name.get(name)
        return step.external if step else None

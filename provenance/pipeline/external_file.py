"""One file that no step made, as an external input: a path of this machine, or one that a package brings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from provenance.pipeline.declaration import Parameters
from runtime.files import sha256_file


class FileMissing(ValueError):
    """An external file that is not where it was said to be."""


@dataclass(frozen=True)
class ExternalFile:
    """The file `name`, at the path that parameter `location` gives; `brought`: words for those that installed packages
    bring, each with the package and the path inside it.

    `ExternalInputs` says what each attribute is.
    """

    noun: str
    name: str
    brought: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    location: str = "source"
    selected_by: tuple[str, ...] = ()
    folder: str = "data"

    @property
    def remedy(self) -> str:
        return " or ".join(f"-P {self.location}={word}" for word in ("FILE", *self.brought))

    def roles(self, params: Parameters) -> tuple[str, ...]:
        return (self.name,)

    def files(self, location: str, params: Parameters, roles: Iterable[str]) -> dict[str, Path]:
        """Raises FileMissing."""
        path = _of_package(*self.brought[location]) if location in self.brought else Path(location)
        path = path / self.name if path.is_dir() else path  # where a bundle put it
        if not path.is_file():
            raise FileMissing(f"there is no {self.noun} at {location:.200}\n Give {self.remedy}.")
        return {role: path for role in roles}

    def digests(self, location: str, params: Parameters, roles: Iterable[str]) -> dict[str, str]:
        return {role: sha256_file(path) for role, path in self.files(location, params, roles).items()}

    def file_name(self, params: Parameters, role: str) -> str:
        return role

    def made_by_code(self, location: str) -> bool:
        return False

    def same_for_everybody(self, location: str) -> bool:
        return location in self.brought


def _of_package(package: str, path: str) -> Path:
    spec = find_spec(package)
    folders = spec.submodule_search_locations if spec else None
    if not folders:
        raise FileMissing(f"package {package} is not installed here\n Run in the environment that conda.yaml pins.")
    return Path(folders[0], path)

"""The code and the settings that MLflow uses when it loads a model. They are compared when a run is repeated.

The digest of a model leaves out files that contain ids or times, and also the code inside the model. But MLflow's
`load_model` runs this code, so a model with other code must not count as identical.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path, PurePath, PurePosixPath
from typing import Any, NamedTuple

import yaml

from provenance.record.artifacts import REGISTRATION, ArtifactError, address, open_artifact
from provenance.record.digest import DigestError, digest_json, sha256_file
from provenance.record.lineage import Output

MODEL = "MLmodel"
_TEXTS = ("requirements.txt", "constraints.txt")
REQUIREMENTS = (*_TEXTS, "conda.yaml", "python_env.yaml")  # the packages to install before a model is loaded
MOST_BYTES = 1_000_000  # the largest settings file that is parsed
# Fields of MLmodel that differ each time a model is logged and that have no effect on loading.
_OF_THE_MOMENT = ("artifact_path", "mlflow_version", "model_id", "model_size_bytes", "model_uuid", "run_id",
                  "utc_time_created")  # fmt: skip
_BUILDERS = ("pip", "setuptools", "wheel")  # each environment manager brings its own


class ModelFile(NamedTuple):
    """A file, at `path`, of the model that is the output `output` of a run."""

    output: str
    path: str

    def __str__(self) -> str:
        return f"{self.output} {self.path}"


def files(outputs: Iterable[Output]) -> dict[ModelFile, str]:
    """The SHA-256 of the files that the outputs' digests leave out but that must be the same in a repetition.

    Hidden files such as .DS_Store are left out. They come from the folder of the model's author, and no import can name
    them.
    """
    return {
        ModelFile(output.name, path): output.files[path][1]
        for output in outputs
        for path in output.volatile
        if path not in (MODEL, REGISTRATION, *REQUIREMENTS)
        and not any(part.startswith(".") for part in PurePosixPath(path).parts)
    }


def settings(outputs: Iterable[Output]) -> dict[ModelFile, str]:
    """The digest of each settings file without ids, times and locations. Outputs that cannot be read are left out."""
    found = {}
    for output in outputs:
        if MODEL in output.volatile:
            try:
                with open_artifact(output.uri) as folder:
                    for name in (MODEL, *REQUIREMENTS):
                        if name in output.volatile:
                            found[ModelFile(output.name, name)] = _digest(name, (folder / name).read_bytes())
                    at_home = address(output.uri) == str(folder)
                    compiled = _bytecode(folder, at_home)
                    found |= {ModelFile(output.name, path): digest for path, digest in compiled.items()}
            except (ArtifactError, DigestError, OSError):
                continue  # `artifacts.problems` reports it
    return found


def _bytecode(folder: Path, at_home: bool) -> dict[str, str]:
    """Path -> SHA-256 of compiled code that could run instead of its source.

    at_home: whether `folder` is the store itself. There Python writes compiled code next to the source, and checks it
    against the source before it runs. Such files are left out. A server never has them.
    """
    found = {}
    for path in sorted(folder.rglob("*.pyc")):
        with path.open("rb") as file:
            checked = file.read(8)[4:] != (1).to_bytes(4, "little")  # PEP 552: 1 is "by hash, never checked"
        if not (at_home and checked):
            found[path.relative_to(folder).as_posix()] = sha256_file(path)
    return found


def _digest(name: str, content: bytes) -> str:
    """The digest of a settings file. A file that MLflow cannot have written is compared by its text."""
    if name not in _TEXTS and len(content) <= MOST_BYTES:
        try:
            text = content.decode()
            if not any(
                isinstance(token, yaml.AliasToken) for token in yaml.scan(text)
            ):  # aliases can grow without limit
                said = yaml.safe_load(text)
                return digest_json(_model(said) if name == MODEL else _environment(said))
        except (yaml.YAMLError, LookupError, AttributeError, TypeError, ValueError, RecursionError):
            pass
    return digest_json([name, content[:MOST_BYTES].hex(), len(content)])


def _model(said: Mapping[str, Any]) -> dict[str, Any]:
    """The content of MLmodel without the fields that differ each time a model is logged."""
    kept = without_places({name: value for name, value in said.items() if name not in _OF_THE_MOMENT})
    kept["flavors"]["python_function"].pop("cloudpickle_version", None)
    return kept


def without_places(said: Mapping[str, Any]) -> dict[str, Any]:
    """The content of MLmodel without the locations of code and artifacts at logging time. MLflow does not use them."""
    function = dict(said["flavors"]["python_function"])
    artifacts = function.get("artifacts", {})
    function["artifacts"] = {
        name: {key: None if key == "uri" else value for key, value in said.items()} for name, said in artifacts.items()
    }
    if "model_code_path" in function:  # MLflow uses only the last part
        function["model_code_path"] = PurePath(function["model_code_path"]).name
    return {**said, "flavors": {**said["flavors"], "python_function": function}}


def _environment(said: Mapping[str, Any]) -> dict[str, Any]:
    """conda.yaml or python_env.yaml without pip, setuptools and wheel: each environment manager brings its own."""

    def without(packages: list[Any]) -> list[Any]:
        return [item for item in packages if not (isinstance(item, str) and _is_builder(item))]

    lists = {name: without(value) for name, value in said.items() if isinstance(value, list)}
    return {**said, **lists}


def _is_builder(requirement: str) -> bool:
    name = requirement.strip()
    for builder in _BUILDERS:
        rest = name.removeprefix(builder)
        if rest != name and all(letter in "0123456789.<>=!, " for letter in rest):
            return True
    return False

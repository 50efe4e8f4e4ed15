"""What MLflow runs, or is told to run, when it loads a model: compared when a run is repeated, beside the digests.

An output's digest leaves out files with ids and times in them, and with them the code inside a model. A record whose
model has other code must not be called identical for that: MLflow's `load_model` runs it.
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
REQUIREMENTS = ("requirements.txt", "conda.yaml", "python_env.yaml")  # what is installed before a model is loaded
MOST_BYTES = 1_000_000  # of a file that says how to load
# Of MLmodel, what differs whenever a model is logged, and steers nothing.
_OF_THE_MOMENT = ("artifact_path", "mlflow_version", "model_id", "model_size_bytes", "model_uuid", "run_id",
                  "utc_time_created")  # fmt: skip
_BUILDERS = ("pip", "setuptools", "wheel")  # each environment manager brings its own


class ModelFile(NamedTuple):
    """A file of the model that is output `output` of a run."""

    output: str
    path: str

    def __str__(self) -> str:
        return f"{self.output} {self.path}"


def files(outputs: Iterable[Output]) -> dict[ModelFile, str]:
    """The SHA-256 of every file that the digests leave out and that comes out again all the same.

    Hidden files are none of them: a model gets those of its maker's folder (.DS_Store), and no import can name them.
    """
    return {
        ModelFile(output.name, path): output.files[path][1]
        for output in outputs
        for path in output.volatile
        if path not in (MODEL, REGISTRATION, *REQUIREMENTS)
        and not any(part.startswith(".") for part in PurePosixPath(path).parts)
    }


def settings(outputs: Iterable[Output]) -> dict[ModelFile, str]:
    """The digest of what each file says without ids, times and places, where the file can be had."""
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
                continue  # said where its damage is
    return found


def _bytecode(folder: Path, at_home: bool) -> dict[str, str]:
    """Compiled code that Python did not leave there itself, path -> SHA-256: it would run instead of its source.

    Where a store is a folder, Python leaves some beside a model that is loaded from it, which says of which source it
    is; a server has none, and none is ever of no source.
    """
    found = {}
    for path in sorted(folder.rglob("*.pyc")):
        with path.open("rb") as file:
            checked = file.read(8)[4:] != (1).to_bytes(4, "little")  # PEP 552: 1 is "by hash, never checked"
        if not (at_home and checked):
            found[path.relative_to(folder).as_posix()] = sha256_file(path)
    return found


def _digest(name: str, content: bytes) -> str:
    """Of something that is not what MLflow writes, the digest of its text."""
    if name != "requirements.txt" and len(content) <= MOST_BYTES:
        try:
            text = content.decode()
            if not any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text)):  # which can grow without end
                said = yaml.safe_load(text)
                return digest_json(_model(said) if name == MODEL else _environment(said))
        except (yaml.YAMLError, LookupError, AttributeError, TypeError, ValueError, RecursionError):
            pass
    return digest_json([name, content[:MOST_BYTES].hex(), len(content)])


def _model(said: Mapping[str, Any]) -> dict[str, Any]:
    """MLmodel: the flavors with all that they name, the signature, whatever else there is."""
    kept = without_places({name: value for name, value in said.items() if name not in _OF_THE_MOMENT})
    kept["flavors"]["python_function"].pop("cloudpickle_version", None)
    return kept


def without_places(said: Mapping[str, Any]) -> dict[str, Any]:
    """What MLmodel says, but for where code and artifacts lay when the model was logged: MLflow follows neither."""
    function = dict(said["flavors"]["python_function"])
    artifacts = function.get("artifacts", {})
    function["artifacts"] = {
        name: {key: None if key == "uri" else value for key, value in said.items()} for name, said in artifacts.items()
    }
    if "model_code_path" in function:  # MLflow takes its last part alone
        function["model_code_path"] = PurePath(function["model_code_path"]).name
    return {**said, "flavors": {**said["flavors"], "python_function": function}}


def _environment(said: Mapping[str, Any]) -> dict[str, Any]:
    """conda.yaml or python_env.yaml without the versions of what only installs."""

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

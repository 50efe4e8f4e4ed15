"""The record of a run: what it was made from and what it made. It gives the key, the tags and lineage.json."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace

from provenance.record import run_tags
from provenance.record.digest import JsonObject, Listing, digest_json
from provenance.record.validation import code as as_code
from provenance.record.validation import malformed, printable

SCHEMA_VERSION = 2  # in version 1 the key covers all recorded code, and contains no version of the engine
READABLE = (1, 2)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


class LineageError(ValueError):
    """A lineage record is missing, has another version, or does not fit its digest."""


@dataclass(frozen=True)
class Input:
    """Content that a step read. `digest` is that of the bytes; `uri` says where they were."""

    role: str
    uri: str
    digest: str


@dataclass(frozen=True)
class Output:
    """Content that a step made.

    `files` gives (size in bytes, SHA-256) of each file, so that a later change of any file is noticed. `digest` covers
    the files that must be the same when the step is repeated. `volatile` files are not among them: they contain run
    ids or times.
    """

    name: str
    uri: str
    digest: str
    files: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    volatile: tuple[str, ...] = ()

    @classmethod
    def of(cls, name: str, uri: str, listing: Listing) -> Output:
        return cls(name, uri, listing.digest, listing.files, listing.volatile)

    @property
    def listing(self) -> Listing:
        return Listing(self.digest, dict(self.files), self.volatile)


@dataclass(frozen=True)
class Lineage:
    """The record of one run.

    `params` can change the result. `placement` cannot: workers, engine, location of files. `code` maps each module
    that the step imports to its digest. `source` describes the git checkout, `environment` the installed packages and
    the machine.
    """

    step: str
    params: Mapping[str, str]
    placement: Mapping[str, str]
    inputs: tuple[Input, ...]
    code: Mapping[str, str]
    code_digest: str
    environment: JsonObject
    environment_key: str
    source: JsonObject
    key: str = ""
    outputs: tuple[Output, ...] = ()
    # Role -> digest of the inputs in the key, if these differ from the inputs' own (the recipe of a generated file).
    key_inputs: Mapping[str, str] = field(default_factory=dict)
    engine: int = 0  # version of the engine; 0 in old records without one, whose key covers all code
    keyed: tuple[str, ...] = ()  # the modules of `code` that can change a result

    def having_read(self, digests: Mapping[str, str]) -> Lineage:
        """The same record with the digests of the content that was read, role -> SHA-256. The key does not change."""
        return replace(self, inputs=tuple(replace(item, digest=digests[item.role]) for item in self.inputs))

    def with_key(self) -> Lineage:
        """A copy whose `key` is computed from the other fields."""
        return replace(self, key=digest_json(self.components()))

    @property
    def keyed_inputs(self) -> dict[str, str]:
        """Role -> digest of the inputs, as the key contains them."""
        return dict(self.key_inputs) or {item.role: item.digest for item in self.inputs}

    def components(self) -> JsonObject:
        """The parts of the key by name, so that two keys can be compared part by part."""
        code = (
            {"engine": self.engine, "code": digest_json(self.keyed_code)} if self.engine else {"code": self.code_digest}
        )
        return {
            **code,
            "schema": self.schema,
            "step": self.step,
            "params": dict(self.params),
            "inputs": self.keyed_inputs,
            "environment": self.environment_key,
        }

    @property
    def schema(self) -> int:
        """The version of the record's format."""
        return SCHEMA_VERSION if self.engine else 1

    @property
    def keyed_code(self) -> dict[str, str]:
        """The part of `code` that the key covers: what can change a result."""
        return {path: self.code.get(path, "") for path in self.keyed} if self.engine else dict(self.code)

    def outputs_digest(self) -> str:
        """SHA-256 over the records of the outputs, hex."""
        return digest_json([asdict(output) for output in self.outputs])

    def to_json(self) -> str:
        """The content of ``lineage.json``; `from_json` reads it."""
        record = {"schema": self.schema, **asdict(self)}
        if self.schema == 1:
            del record["engine"], record["keyed"]
        return json.dumps(record, indent=1, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Lineage:
        """Read what `to_json` returned. Raises LineageError if it is malformed. It does not check who wrote it."""
        try:
            record = json.loads(text)
            if (schema := record.pop("schema")) not in READABLE:
                raise LineageError(
                    f"lineage.json is of version {schema!r:.20}, this project reads {READABLE[0]} to {READABLE[-1]}\n"
                    " Use the version of the project that made the run."
                )
            record["inputs"] = tuple(Input(**item) for item in record["inputs"])
            record["outputs"] = tuple(
                Output.of(item["name"], item["uri"], Listing.from_dict(item)) for item in record["outputs"]
            )
            lineage = cls(**record | {"keyed": tuple(record.get("keyed", ()))})
            if found := malformed(lineage):
                raise TypeError(found)
            return lineage
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            if isinstance(error, LineageError):
                raise
            raise LineageError(
                f"lineage.json cannot be read ({ascii(str(error))[1:-1]:.200})\n It was altered: do not use the run."
            ) from error

    def tags(self) -> dict[str, str]:
        """The tags of the run, to search for it."""
        return run_tags.of(self)

    def description(self) -> str:
        """The record as a Markdown table for the run's page."""
        source, environment = self.source, self.environment
        commit = (
            f"`{source['commit'][:12]}`" if source.get("commit") else f"none ({source.get('note') or 'a plain folder'})"
        )
        patch = f" + patch `{source['patch'][:12]}`" if source.get("patch") else ""
        rows = [
            *([("key", f"`{self.key[:12]}`")] if self.key else []),
            ("code", f"commit {commit}{patch}, digest `{self.code_digest[:12]}`"),
            ("environment", _environment_text(environment)),
            ("machine", f"{environment.get('platform')}, {environment.get('cpu')}, {environment.get('cores')} cores"),
            *(("parameter " + name, as_code(value)) for name, value in sorted(self.params.items())),
            *((f"({name})", as_code(value)) for name, value in sorted(self.placement.items())),
            *(
                ("input " + item.role, f"{as_code(item.uri)} sha256 {as_code(item.digest[:12])}")
                for item in self.inputs
            ),
            *(
                ("output " + item.name, f"{as_code(item.uri)} sha256 {as_code(item.digest[:12])}")
                for item in self.outputs
            ),
        ]
        return "\n".join(["| lineage | |", "| --- | --- |", *(f"| {name} | {_cell(text)} |" for name, text in rows)])


def _cell(text: str) -> str:
    return re.sub(r"(?<!\\)\|", r"\\|", printable(text))


def _environment_text(environment: JsonObject) -> str:
    differences = environment.get("differences")
    equal = "as locked" if not differences else f"differs from the lock: {differences}"
    lock = str(environment.get("lock_digest"))[:12]
    return f"Python {environment.get('python')}, {environment.get('manager')}, lock `{lock}`, {equal}"


def normalise(value: object) -> str:
    """The one spelling of a value: ``0.10`` and ``1e-1`` become ``0.1``, JSON is sorted and without spaces.

    Other text stays as it is.
    """
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value).strip()
    if _NUMBER.fullmatch(text):
        number = float(text)
        return str(int(number)) if number.is_integer() and abs(number) < 2**53 else repr(number)
    if text[:1] in "{[":
        try:
            parsed = json.loads(text)
        except (json.JSONDecodeError, RecursionError):
            return text
        return json.dumps(_tight(parsed), sort_keys=True, separators=(",", ":"))
    return text


def _tight(value: object) -> object:
    """A JSON value whose whole numbers are ints, so that 6.0 and 6 are the same value."""
    if isinstance(value, dict):
        return {key: _tight(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_tight(item) for item in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value

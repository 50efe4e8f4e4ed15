"""The tags of a run that repeat a part of its record, so that one search of the store finds the run.

There are few of them: MLflow's page shows all tags of a run above its metrics. All the rest is in lineage.json. Earlier
code wrote a tag for each parameter, input, output and fact of the environment. Both are read here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from provenance.record import names

if TYPE_CHECKING:
    from provenance.record.lineage import Input, Lineage, Output

LENGTH = 5000  # characters that MLflow keeps of a tag
_URI_LENGTH = 4000  # characters of one URI in a tag, so that a list always has room for it

# The tags of earlier code.
EARLIER_SCHEMA = names.PREFIX + "schema"  # each run of earlier code has it
EARLIER_REMOTE = names.PREFIX + "remote"
EARLIER_BRANCH = names.PREFIX + "branch"
EARLIER_PATCH = names.PREFIX + "patch"
EARLIER_PARAM = names.PREFIX + "param."
EARLIER_INPUT = names.PREFIX + "input."
EARLIER_OUTPUT = names.PREFIX + "output."
EARLIER_STEP = names.PREFIX + "run."
_URI = ".uri"


@dataclass(frozen=True)
class Listed:
    """An input or output of a run, as its tags name it."""

    uri: str
    digest: str


def of(lineage: Lineage) -> dict[str, str]:
    """The tags of a record. Long values are cut to the length that MLflow keeps."""
    source = lineage.source
    found = {
        names.STEP: lineage.step,
        names.KEY: lineage.key,
        names.CODE: lineage.code_digest,
        names.COMMIT: source.get("commit"),
        names.DIRTY: str(bool(source.get("dirty"))).lower(),
        names.ENVIRONMENT: lineage.environment_key,
        **_listed(names.INPUTS, ((item.role, item) for item in lineage.inputs)),
        **_listed(names.MADE, ((item.name, item) for item in lineage.outputs)),
    }
    return _cut(found)


def of_steps(runs: Mapping[str, str]) -> dict[str, str]:
    """The tag of a chain that names its steps, step -> run id."""
    return {names.STEPS: json.dumps(runs)}


def inputs(tags: Mapping[str, str]) -> dict[str, Listed]:
    """Role -> what the run read, according to its tags. What cannot be read is left out."""
    return _read(tags, names.INPUTS, EARLIER_INPUT)


def outputs(tags: Mapping[str, str]) -> dict[str, Listed]:
    """Name -> what the run made, according to its tags. What cannot be read is left out."""
    return _read(tags, names.MADE, EARLIER_OUTPUT)


def steps(tags: Mapping[str, str]) -> dict[str, str]:
    """Step -> run id, of a chain, according to its tags."""
    earlier = {name.removeprefix(EARLIER_STEP): text for name, text in tags.items() if name.startswith(EARLIER_STEP)}
    return earlier | _texts(tags.get(names.STEPS, ""))


def earlier_params(tags: Mapping[str, str]) -> dict[str, str]:
    """The parameters that earlier code wrote as tags."""
    return {name.removeprefix(EARLIER_PARAM): text for name, text in tags.items() if name.startswith(EARLIER_PARAM)}


def made(name: str, digest: str) -> tuple[str, str]:
    """Conditions for `search_runs`: a run has an output `name` with this digest. One is for runs of earlier code.

    MLflow's filters have no "or". The first condition does not check the name.
    """
    return f"tags.`{names.MADE}` LIKE '%{digest}%'", f"tags.`{EARLIER_OUTPUT}{name}` = '{digest}'"


def expected(lineage: Lineage, tags: Mapping[str, str]) -> dict[str, str | None]:
    """Name -> value by the record, of the tags that the run must have, and of those in `tags` that repeat a record.

    None stands for a tag that the run must not have.
    """
    now, earlier = of(lineage), _of_earlier_code(lineage)
    must = earlier if EARLIER_SCHEMA in tags else now
    optional = earlier | dict.fromkeys(name for name in tags if _is_list(name)) | now
    source = dict.fromkeys((names.COMMIT, EARLIER_REMOTE, EARLIER_BRANCH, EARLIER_PATCH))
    known = source | optional
    return {name: known[name] for name in {*must, *(known.keys() & tags.keys())}}


def _of_earlier_code(lineage: Lineage) -> dict[str, str]:
    """The tags that earlier code wrote of the same record."""
    environment, source = lineage.environment, lineage.source
    found = {
        EARLIER_SCHEMA: lineage.schema,
        names.STEP: lineage.step,
        names.KEY: lineage.key,
        names.CODE: lineage.code_digest,
        names.COMMIT: source.get("commit"),
        EARLIER_REMOTE: source.get("remote"),
        EARLIER_BRANCH: source.get("branch"),
        names.DIRTY: str(bool(source.get("dirty"))).lower(),
        EARLIER_PATCH: source.get("patch"),
        names.PREFIX + "lock": environment.get("lock_digest"),
        names.ENVIRONMENT: lineage.environment_key,
        names.PREFIX + "environment_equals_lock": str(not environment.get("differences")).lower(),
        names.PREFIX + "python": environment.get("python"),
        names.PREFIX + "platform": environment.get("platform"),
        names.PREFIX + "cpu": environment.get("cpu"),
        names.PREFIX + "cores": environment.get("cores"),
        names.PREFIX + "env_manager": environment.get("manager"),
    }
    found |= {EARLIER_PARAM + name: value for name, value in {**lineage.params, **lineage.placement}.items()}
    found |= {EARLIER_INPUT + item.role: item.digest for item in lineage.inputs}
    found |= {f"{EARLIER_INPUT}{item.role}{_URI}": item.uri for item in lineage.inputs}
    found |= {EARLIER_OUTPUT + item.name: item.digest for item in lineage.outputs}
    found |= {f"{EARLIER_OUTPUT}{item.name}{_URI}": item.uri for item in lineage.outputs}
    return _cut(found)


def _cut(tags: Mapping[str, object]) -> dict[str, str]:
    return {name: str(value)[:LENGTH] for name, value in tags.items() if value is not None}


def _listed(tag: str, items: Iterable[tuple[str, Input | Output]]) -> dict[str, str]:
    """Inputs or outputs as JSON, name -> "<URI> <digest>", in one tag; more than fit into it go on in `<tag>.2` ...."""
    lists: list[dict[str, str]] = []
    for name, item in items:
        entry = {name: f"{item.uri[:_URI_LENGTH]} {item.digest}"}
        if lists and len(json.dumps(lists[-1] | entry)) <= LENGTH:
            lists[-1] |= entry
        else:
            lists.append(entry)
    return {f"{tag}.{number}" if number > 1 else tag: json.dumps(part) for number, part in enumerate(lists, start=1)}


def _is_list(name: str, tags: tuple[str, ...] = (names.INPUTS, names.MADE)) -> bool:
    return any(name == tag or name.startswith(f"{tag}.") for tag in tags)


def _read(tags: Mapping[str, str], tag: str, earlier: str) -> dict[str, Listed]:
    found = {}
    for name, text in tags.items():
        if name.startswith(earlier) and name.endswith(_URI):
            found[name[len(earlier) : -len(_URI)]] = Listed(text, tags.get(name.removesuffix(_URI), ""))
        elif _is_list(name, (tag,)):
            for role, entry in _texts(text).items():
                uri, _, digest = entry.rpartition(" ")
                found[role] = Listed(uri, digest)
    return found


def _texts(text: str) -> dict[str, str]:
    """The texts of a JSON object; empty if it is none."""
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return {name: value for name, value in parsed.items() if isinstance(value, str)} if isinstance(parsed, dict) else {}

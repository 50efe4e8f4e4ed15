"""What a user asks about: `of` as a file, an artifact, a run, a model, a commit or a package."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from provenance.impact.environments import canonical, packages_of
from provenance.impact.graph import FILE, RUN, FileRead, Graph
from provenance.impact.recorded import RecordedRun, stored
from provenance.record.digest import sha256_file

if TYPE_CHECKING:
    from provenance.pipeline.declaration import Pipeline

SHORT = 12  # letters of a digest that are shown
WORKED_WITH = ("commit", "package")  # kinds of subject whose seeds are all runs that worked with it
MOST = 8  # names that a message lists
_RUN = re.compile(r"(?:runs:/)?([0-9a-f]{32})/?")
_ALIAS = re.compile(r"models:/([^/@]+)@([^/@]+)/?")
_PACKAGE = re.compile(r"([A-Za-z0-9][\w.-]*)==([\w.!+-]+)")
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")
_COMMIT, _DIGEST = re.compile(r"[0-9a-f]{7,40}"), re.compile(r"[0-9a-f]{8,64}")


class ImpactError(ValueError):
    """`of` names nothing that a run of this project names, or more than one thing."""


@dataclass(frozen=True)
class Subject:
    """One thing that was asked about.

    kind: "file", "artifact", "run", "model", "version", "commit" or "package".
    digest: its SHA-256; "" if it has none.
    about: further facts, for people.
    seeds: the nodes from which the graph is followed.
    """

    kind: str
    name: str
    digest: str = ""
    about: str = ""
    seeds: tuple[str, ...] = ()
    unread: tuple[str, ...] = field(default=())  # environments of which no record tells


def subjects(graph: Graph, pipeline: Pipeline, of: str, path_of: Callable[[str], Path]) -> list[Subject]:
    """What `of` names; several if a name stands for several contents or versions. Raises ImpactError.

    path_of: the path that a text of the user names.
    """
    if of.startswith("models:/"):
        return [_model(graph, of)]
    if (match := _RUN.fullmatch(of)) and match[1] in graph.runs:
        return [_run(graph, graph.runs[match[1]])]
    if of.startswith("runs:/"):
        return [_artifact(graph, of)]
    if match := _PACKAGE.fullmatch(of):
        return _packages(graph, match[1], match[2])
    if found := _files_named(graph, pipeline, of):
        return found
    if found := _of_prefix(graph, pipeline, of):
        if len(found) > 1:
            several = "; ".join(f"{one.kind} {one.digest or one.name}" for one in found[:MOST])
            raise ImpactError(f"of={of:.70} is the beginning of {len(found)} names: {several}\n Give more of one.")
        return found
    if (path := path_of(of)).is_file():
        return [_local_file(graph, pipeline, path)]
    if _NAME.fullmatch(of) and (found := _packages(graph, of)):
        return found
    known = sorted({read.role for reads in graph.files.values() for read in reads})
    listed = ", ".join(known[:MOST]) + (", ..." if len(known) > MOST else "") if known else "none"
    raise ImpactError(
        f"of={of:.100} names nothing that a run of this project made or read (files that they read: {listed:.300})\n"
        " Give a file's name or path, a digest of at least 8 digits, a run id, models:/name/version, a commit or "
        "package==version."
    )


def _model(graph: Graph, of: str) -> Subject:
    uri = stored(of)
    if match := _ALIAS.fullmatch(of):
        held = (one.uri for one in graph.versions.values() if match[2] in one.aliases and _name(one.uri) == match[1])
        uri = next(held, "")
    if version := graph.versions.get(uri):
        aliases = f"holds {', '.join(version.aliases)}" if version.aliases else "holds no alias"
        return Subject("version", uri, about=aliases, seeds=(uri,))
    if uri in graph.made:
        return Subject("model", uri, graph.made[uri].digest, f"by run {graph.maker[uri]}", (uri,))
    raise ImpactError(f"of={of:.200} is no model or version that you may read and that a run of this project made\n"
                      " Give models:/<name>/<version>, models:/<name>@<alias> or models:/<model id>.")  # fmt: skip


def _name(version_uri: str) -> str:
    return version_uri.removeprefix("models:/").rpartition("/")[0]


def _run(graph: Graph, run: RecordedRun) -> Subject:
    """A run. One that reused another stands for it, and a chain for its steps."""
    ids = {run.run_id, graph.original(run.run_id)}
    ids |= {graph.original(step) for step in run.steps if step in graph.runs}
    about = f"trial {run.trial}" if run.trial else run.step
    about += f", stands for run {run.reused}" if run.reused else ""
    return Subject("run", run.run_id, about=about, seeds=tuple(sorted(RUN + run_id for run_id in ids)))


def _artifact(graph: Graph, of: str) -> Subject:
    if (uri := stored(of)) not in graph.made:
        raise ImpactError(f"of={of:.200} is no run or output that a run of this project names\n"
                          " Give runs:/<run id> or runs:/<run id>/<output>.")  # fmt: skip
    made = graph.made[uri]
    return Subject("artifact", made.name, made.digest, uri, (uri,))


def _files_named(graph: Graph, pipeline: Pipeline, of: str) -> list[Subject]:
    """Each content that runs read under this name: the role of an input, or the name of its file."""
    digests = [
        digest
        for digest, reads in graph.files.items()
        if any(of in (read.role, file_name(pipeline, read)) for read in reads)
    ]
    return sorted((_file(graph, pipeline, digest) for digest in digests), key=lambda one: (one.name, one.digest))


def file_name(pipeline: Pipeline, read: FileRead) -> str:
    """The name of a file that a step read, as the project declares it; its role if that cannot be told."""
    external = pipeline.external(read.run.step)
    try:
        return external.file_name(read.run.params, read.role) if external else read.role
    except (KeyError, ValueError):
        return read.role


def _file(graph: Graph, pipeline: Pipeline, digest: str) -> Subject:
    """The content with this digest: what runs read as a file, or an output."""
    outputs = [(node, output) for node, output in graph.made.items() if output.digest == digest]
    seeds = (FILE + digest, *(node for node, _ in outputs))
    reads = graph.files.get(digest, [])
    if not reads:
        node, output = outputs[0]
        return Subject("artifact", output.name, digest, f"by run {graph.maker[node]}", seeds)
    # Most runs of a file agree about its name. A step that is declared knows it best.
    name = min((file_name(pipeline, read) for read in reads), key=lambda name: (name in {r.role for r in reads}, name))
    places = sorted({read.location for read in reads})
    where = ", ".join(f"{place:.120}" for place in places[:3]) + (", ..." if len(places) > 3 else "")
    users = len({read.run.run_id for read in reads})
    return Subject("file", name, digest, f"from {where}; read by {users} run{'s'[: users != 1]}", seeds)


def _of_prefix(graph: Graph, pipeline: Pipeline, of: str) -> list[Subject]:
    """The contents and commits whose digest or id begins with `of`."""
    found = []
    if _DIGEST.fullmatch(of):
        digests = {*graph.files, *(output.digest for output in graph.made.values())}
        found += [_file(graph, pipeline, digest) for digest in sorted(digests) if digest.startswith(of)]
    if _COMMIT.fullmatch(of):
        commits = sorted({run.commit for run in graph.runs.values() if run.commit.startswith(of)})
        found += [_commit(graph, commit) for commit in commits]
    return found


def _commit(graph: Graph, commit: str) -> Subject:
    return _seeded("commit", commit, _workers(graph, lambda run: run.commit == commit))


def _workers(graph: Graph, wanted: Callable[[RecordedRun], bool]) -> list[RecordedRun]:
    """The wanted runs that did their own work: one that reused another used nothing of its own commit or packages."""
    return [run for run in graph.runs.values() if run.step and not run.by_reference and wanted(run)]


def _seeded(kind: str, name: str, runs: list[RecordedRun], unread: Iterable[str] = ()) -> Subject:
    about = f"{len(runs)} run{'s'[: len(runs) != 1]} worked with it"
    return Subject(kind, name, "", about, tuple(RUN + run.run_id for run in runs), tuple(unread))


def _local_file(graph: Graph, pipeline: Pipeline, path: Path) -> Subject:
    digest = sha256_file(path)
    if digest in graph.files or any(output.digest == digest for output in graph.made.values()):
        return _file(graph, pipeline, digest)
    raise ImpactError(f"no run of this project read or made the content of {path} (sha256 {digest})\n"
                      " Ask about what runs read under its name, such as of=<its name>.")  # fmt: skip


def _packages(graph: Graph, name: str, version: str = "") -> list[Subject]:
    """Each version of a package that runs used, or the given one. Raises ImpactError if the given one was not used."""
    workers = _workers(graph, lambda run: bool(run.environment))
    known, unread = packages_of(workers)
    used: dict[str, set[str]] = {}
    for key, packages in known.items():
        if there := packages.get(canonical(name)):
            used.setdefault(there, set()).add(key)
    if version and version not in used:
        there = f"they used {', '.join(sorted(used))}" if used else "no lock that they used names it"
        raise ImpactError(f"no run of this project used {name}=={version}: {there:.300}\n"
                          " Give a package that requirements.lock names, and a version that a run used.")  # fmt: skip
    return [
        _seeded("package", f"{canonical(name)}=={there}", [run for run in workers if run.environment in keys], unread)
        for there, keys in sorted(used.items())
        if there == (version or there)
    ]

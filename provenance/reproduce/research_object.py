"""Describe a bundle as a Workflow Run RO-Crate, so that people can deposit and cite it. Nothing here is read again.

RO-Crate 1.1 with the profiles Process Run Crate, Workflow Run Crate 0.5 and Workflow RO-Crate 1.0: see
https://www.researchobject.org/workflow-run-crate. A user's name or folder is not part of the description.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any, TypeAlias
from urllib.parse import quote

from rocrate.model.computationalworkflow import ComputationalWorkflow
from rocrate.model.computerlanguage import ComputerLanguage
from rocrate.model.contextentity import ContextEntity
from rocrate.model.entity import Entity
from rocrate.model.file import File
from rocrate.rocrate import ROCrate

from provenance.git.command import without_credentials
from provenance.record.environment import LOCK
from provenance.record.lineage import Lineage
from provenance.reproduce.bundle import CODE, LOCKS, MANIFEST, PATCHES, RECORDS
from provenance.reproduce.recorded_run import RecordedRun
from provenance.reproduce.verdict import measured

VERSION = "1.1"  # of RO-Crate: the one on which the profiles are built
TERMS = "https://w3id.org/ro/terms/workflow-run/context"  # has sha256
WORKFLOW_CRATE = "https://w3id.org/workflowhub/workflow-ro-crate/1.0"
PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": ("Process Run Crate", "0.5"),
    "https://w3id.org/ro/wfrun/workflow/0.5": ("Workflow Run Crate", "0.5"),
    WORKFLOW_CRATE: ("Workflow RO-Crate", "1.0"),
}
COMPUTATIONAL_WORKFLOW = "https://bioschemas.org/profiles/ComputationalWorkflow/1.0-RELEASE"
FORMAL_PARAMETER = "https://bioschemas.org/profiles/FormalParameter/1.0-RELEASE"
WORKFLOW = f"{CODE}/MLproject"  # the member that is the main entity
LICENCE = f"{CODE}/LICENSE"
DIGEST = "PropertyValue"  # the type of an input or output that is not in the bundle, whose value is its digest
NO_LICENCE = "none recorded: ask the authors"
COMPLETED = "http://schema.org/CompletedActionStatus"
Value: TypeAlias = str | Entity | list[Entity]
_ABOUT = {  # first folder of a member -> what it is, and its media type
    RECORDS: ("Record of run {stem}: parameters, metrics, and digests of all that it was made of", "application/json"),
    PATCHES: ("Uncommitted changes with which run {stem} ran", "text/x-diff"),
    LOCKS: ("{name} of run {folder}", "text/plain"),
    CODE: ("Code of commit {stem}, as a git bundle", "application/octet-stream"),
}
_EXTERNAL = ("{name}, which no step made", "application/octet-stream")


@dataclass(frozen=True)
class Subject:
    """What a bundle is about.

    name: the project's name.
    wanted: ids of the runs that the bundle is made for.
    originals: these and all upstream runs, in order.
    licence: the text of the project's licence, or "".
    """

    name: str
    wanted: Sequence[str]
    originals: Sequence[RecordedRun]
    licence: str = ""


def describe(subject: Subject, members: Mapping[str, tuple[int, str]], external: Iterable[str]) -> bytes:
    """The content of ro-crate-metadata.json. The same bundle gives the same bytes.

    Parameters
    ----------
    subject : Subject
        What the bundle is about.
    members : mapping of str to tuple
        The members of the bundle, apart from its manifest: size in bytes and SHA-256.
    external : iterable of str
        Those of them that are external inputs.

    Returns
    -------
    bytes
        JSON-LD.
    """
    crate = _Crate(subject, members, frozenset(external))
    crate.add_workflow()
    for original in subject.originals:
        crate.add_run(original)
    crate.add_whole()
    return crate.text()


class _Crate:
    """The description while it grows."""

    def __init__(self, subject: Subject, members: Mapping[str, tuple[int, str]], external: frozenset[str]):
        self._subject, self._external = subject, external
        self._crate = ROCrate(version=VERSION)
        self._crate.metadata.extra_contexts.append(TERMS)
        self._files = {member: self._file(member, *entry) for member, entry in sorted(members.items())}
        self._crate.add(File(self._crate, dest_path=MANIFEST, properties={
            "name": "Size and SHA-256 of each file of the bundle", "encodingFormat": "application/json"}))  # fmt: skip
        self._made: dict[tuple[str, str], Entity] = {}  # (run id, output) -> what stands for it
        self._actions: list[tuple[RecordedRun, Entity]] = []
        self._root()

    def _root(self) -> None:
        subject, root = self._subject, self._crate.root_dataset
        steps = ", ".join(original.lineage.step for original in subject.originals)
        times = [original.ended for original in subject.originals if original.ended]
        root["name"] = f"{subject.name}: {steps}"
        root["description"] = (
            f"Runs of {subject.name} ({', '.join(subject.wanted)}) with everything they were made from: records, code, "
            "patches and locks. After `pip install mlflow uv`, "
            "`mlflow run <project> -e reproduce -P bundle=<this file> --env-manager uv` runs them again and compares "
            "every output and metric."
        )
        root["datePublished"] = _time(max(times, default=0))  # required; an archive has its own
        root["license"] = self._files.get(LICENCE, NO_LICENCE)
        root["conformsTo"] = [self._add(address, "CreativeWork", name=name, version=version)
                              for address, (name, version) in PROFILES.items()]  # fmt: skip
        self._crate.metadata.append_to("conformsTo", {"@id": WORKFLOW_CRATE})

    def _file(self, member: str, size: int, sha256: str) -> Entity:
        path = PurePosixPath(member)
        text, media = _ABOUT.get(path.parts[0], _EXTERNAL)
        name = text.format(name=path.name, stem=path.stem, folder=path.parent.name)
        properties: dict[str, Any] = {"name": name, "contentSize": str(size),
                                  "sha256": sha256, "encodingFormat": media}  # fmt: skip
        if member == WORKFLOW:
            return self._crate.add(ComputationalWorkflow(self._crate, dest_path=member, properties={
                **properties, "name": self._subject.name, "encodingFormat": "application/yaml"}))  # fmt: skip
        if member == LICENCE:
            first = next((line.strip() for line in self._subject.licence.splitlines() if line.strip()), "Licence")
            properties |= {"@type": ["File", "CreativeWork"], "name": first[:200], "encodingFormat": "text/plain"}
        return self._crate.add(File(self._crate, dest_path=member, properties=properties))

    def add_workflow(self) -> None:
        """MLproject: its language, licence and the software that ran it."""
        workflow, record = self._files[WORKFLOW], self._subject.originals[-1].lineage
        language = self._crate.add(ComputerLanguage(self._crate, "#mlflow-project", properties={
            "name": "MLflow Project", "url": "https://mlflow.org/docs/latest/ml/projects/"}))  # fmt: skip
        workflow["programmingLanguage"] = language
        workflow["license"] = self._files.get(LICENCE, NO_LICENCE)
        workflow["version"] = str(record.source.get("commit"))
        workflow["conformsTo"] = self._profile_of(COMPUTATIONAL_WORKFLOW, "ComputationalWorkflow")
        if address := _address(record):
            workflow["url"] = address
        workflow["input"], workflow["output"] = [], []
        self._crate.mainEntity = workflow

    def add_run(self, original: RecordedRun) -> None:
        """One step: what ran, its parameters and inputs, its outputs and metrics."""
        run_id, record = original.run_id, original.lineage
        action = self._add(f"#run-{quote(run_id)}", "CreateAction", name=f"{record.step} (run {run_id})",
                           instrument=self._step(original), actionStatus=COMPLETED,
                           description=_ran_on(record), **_span([original]))  # fmt: skip
        action["object"] = [*self._values(original), *self._inputs(original)]
        action["result"] = [*self._outputs(original), *self._metrics(original)]
        self._files[f"{RECORDS}/{run_id}.json"]["about"] = action
        self._actions.append((original, action))

    def add_whole(self) -> None:
        """The workflow as one action: it took what no step made, and gave what the wanted runs gave."""
        workflow = self._files[WORKFLOW]
        taken = [item for original, action in self._actions for item in action["object"]
                 if item not in self._made.values()]  # fmt: skip
        given = [item for original, action in self._actions if original.run_id in self._subject.wanted
                 for item in action["result"]]  # fmt: skip
        originals = [original for original, _ in self._actions]
        whole = self._add("#whole", "CreateAction", name=f"{self._subject.name}: the whole workflow",
                          description="From what no step made to what the last step made", instrument=workflow,
                          actionStatus=COMPLETED, **_span(originals))  # fmt: skip
        whole["object"], whole["result"] = taken, given
        workflow["hasPart"] = [action["instrument"] for _, action in self._actions]
        self._crate.root_dataset["mentions"] = [whole, *(action for _, action in self._actions)]

    def _step(self, original: RecordedRun) -> Entity:
        """The software of a step: its entry point at a commit, in a locked environment."""
        record, run_id = original.lineage, original.run_id
        files = [self._files[name] for name in (f"{CODE}/{record.source.get('commit')}.bundle",
                 f"{PATCHES}/{run_id}.diff") if name in self._files]  # fmt: skip
        step = self._add(f"#step-{quote(run_id)}", "SoftwareApplication", name=f"Entry point {record.step}",
                         softwareVersion=f"commit {record.source.get('commit')}, code {record.code_digest}",
                         softwareRequirements=self._files[f"{LOCKS}/{run_id}/{LOCK}"], hasPart=files)  # fmt: skip
        if address := _address(record):
            step["url"] = address
        return step

    def _values(self, original: RecordedRun) -> list[Entity]:
        """The parameters of a run that can change its result."""
        return [self._value(original, "parameter", name, text, _kind(text))
                for name, text in sorted(original.lineage.params.items())]  # fmt: skip

    def _inputs(self, original: RecordedRun) -> list[Entity]:
        found = []
        for item in original.lineage.inputs:
            above = original.upstream.get(item.role)
            if above in self._made:
                found.append(self._made[above])
            elif member := self._carried(item.digest):
                found.append(self._formal(original, "input", item.role, "File", self._files[member]))
            else:
                found.append(self._value(original, "input", item.role, f"sha256:{item.digest}", DIGEST))
        return found

    def _carried(self, digest: str) -> str | None:
        return next((name for name in sorted(self._external) if self._files[name]["sha256"] == digest), None)

    def _outputs(self, original: RecordedRun) -> list[Entity]:
        """The outputs by their digests: they are not in the bundle, because they can be made again."""
        for output in original.lineage.outputs:
            value = self._value(original, "output", output.name, f"sha256:{output.digest}", DIGEST)
            self._made[original.run_id, output.name] = value
        return [self._made[original.run_id, output.name] for output in original.lineage.outputs]

    def _metrics(self, original: RecordedRun) -> list[Entity]:
        metrics = sorted(measured(original.made.metrics).items())
        return [self._value(original, "metric", name, repr(value), "Float") for name, value in metrics]

    def _value(self, original: RecordedRun, what: str, name: str, value: str, kind: str) -> Entity:
        entity = self._add(f"#{what}-{quote(f'{original.run_id}-{name}', safe='')}", "PropertyValue",
                           name=name, value=value)  # fmt: skip
        return self._formal(original, what, name, kind, entity)

    def _formal(self, original: RecordedRun, what: str, name: str, kind: str, entity: Entity) -> Entity:
        """Declare the parameter of the workflow of which `entity` is a value. Returns `entity`."""
        slot = "output" if what in ("output", "metric") else "input"
        formal = self._add(f"#formal-{what}-{quote(f'{original.run_id}-{name}', safe='')}", "FormalParameter",
                           name=f"{original.lineage.step}.{name}", additionalType=kind, workExample=entity,
                           conformsTo=self._profile_of(FORMAL_PARAMETER, "FormalParameter"))  # fmt: skip
        entity.append_to("exampleOfWork", formal, compact=True)
        self._files[WORKFLOW].append_to(slot, formal)
        return entity

    def _profile_of(self, address: str, name: str) -> Entity:
        """A profile of Bioschemas."""
        return self._crate.get(address) or self._add(address, "CreativeWork", name=name, version="1.0-RELEASE")

    def _add(self, identifier: str, kind: str, **properties: Value) -> Entity:
        entity = ContextEntity(self._crate, identifier, properties={"@type": kind, **properties})
        return self._crate.add(entity)

    def text(self) -> bytes:
        content = self._crate.metadata.generate()
        return json.dumps(content, indent=1, sort_keys=True).encode() + b"\n"


def _address(record: Lineage) -> str:
    """The repository's address on the web; "" for a path, or an address of ssh, which holds a user's name."""
    remote = str(record.source.get("remote") or "")
    return without_credentials(remote) if remote.startswith(("https://", "http://")) else ""


def _span(originals: Sequence[RecordedRun]) -> dict[str, str]:
    """The first start and the last end of runs, as far as they are known."""
    starts = [original.started for original in originals if original.started]
    ends = [original.ended for original in originals if original.ended]
    found = {"startTime": _time(min(starts))} if starts else {}
    return found | ({"endTime": _time(max(ends))} if ends else {})


def _time(milliseconds: int) -> str:
    """A time in UTC, as ISO 8601."""
    return datetime.fromtimestamp(milliseconds // 1000, UTC).isoformat()


def _ran_on(record: Lineage) -> str:
    environment = record.environment
    facts = [f"Python {environment.get('python')}", *(str(environment.get(name)) for name in ("platform", "cpu"))]
    return f"{', '.join(facts)}, {environment.get('cores')} cores, environment manager {environment.get('manager')}"


def _kind(text: str) -> str:
    """The type of a parameter's value, in the words of schema.org."""
    if text in ("true", "false"):
        return "Boolean"
    for kind, convert in (("Integer", int), ("Float", float)):
        try:
            convert(text)
            return kind
        except ValueError:
            continue
    return "Text"

"""A server that lies about a run: `reproduce` refuses in one clear message, and nothing is executed.

The entry point's command runs in this process; the store is real, and so is what the server says in it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from mlflow.exceptions import MlflowException

from provenance.pipeline import report_run
from provenance.record import names, run_tags
from provenance.record.lineage import Input, Lineage
from steps.reproduce import reproduce
from tests.support import repository
from tests.support.records import RECORD, A

RUN_LOCK = b"numpy==2.4.6\n"
FILES = {
    "MLproject": b"entry_points:\n  preprocess: {parameters: {source: x, taxi: x, reuse: x}, command: ls}\n",
    "conda.yaml": b"dependencies:\n  - python=3.11.7\n",
    "requirements.lock": RUN_LOCK,
    "steps/__init__.py": b"",
    "steps/preprocess.py": b"x = 1\n",
}


pytestmark = pytest.mark.slow  # each piece of what refuses here has fast tests of its own


@dataclass
class Server:
    """A store with one run; `lie` rewrites what it says of it, record and tags together unless told otherwise."""

    client: object
    project: Path
    folder: Path
    run_id: str
    commit: str
    launched: list

    def lie(self, record: Callable[[dict], object] = lambda record: None, tags: dict | None = None) -> None:
        path = self.folder / names.LINEAGE_FILE
        changed = json.loads(path.read_text())
        changed = record(changed) or changed
        text = changed if isinstance(changed, str) else json.dumps(changed)
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        run = self.client.get_run(self.run_id)
        for name in [name for name in run.data.tags if name.startswith(names.PREFIX)]:
            self.client.delete_tag(self.run_id, name)
        self.say({**self.true_tags(changed), **(tags or {})})

    @staticmethod
    def true_tags(record: dict | str) -> dict:
        try:
            lineage = Lineage.from_json(json.dumps(record))
            return {**lineage.tags(), names.OUTPUTS: lineage.outputs_digest()}
        except Exception:  # what cannot be read has no tags that agree
            return {names.STEP: "preprocess", names.OUTPUTS: A}

    def say(self, tags: dict) -> None:
        for name, value in tags.items():
            with contextlib.suppress(MlflowException):  # no server of MLflow's takes such a name
                self.client.set_tag(self.run_id, name, value)


@pytest.fixture
def server(client, tmp_path, monkeypatch) -> Server:
    """A finished preprocess run of a commit that this checkout has; whatever would be started is noted instead."""
    project = tmp_path / "project"
    commit = repository.commit(project, FILES)
    real = report_run.open_session

    def session_for(pipeline, params, run):
        return real(replace(pipeline, root=project), params, run)

    monkeypatch.setattr(report_run, "open_session", session_for)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    launched: list = []
    monkeypatch.setattr("mlflow.projects.run", lambda *given, **named: launched.append((given, named)))
    run = client.create_run("0")
    source = {**RECORD.source, "commit": commit}
    lineage = replace(
        RECORD, step="preprocess", params={"taxi": "green"}, placement={"source": "sample:10"},
        inputs=(Input("2023-01", "sample:10", A),), outputs=(),
        code={}, source=source,
    )  # fmt: skip
    client.log_text(run.info.run_id, lineage.to_json(), names.LINEAGE_FILE)
    client.log_param(run.info.run_id, "source", "sample:10")
    client.log_param(run.info.run_id, "taxi", "green")
    client.set_terminated(run.info.run_id)
    folder = Path(client.get_run(run.info.run_id).info.artifact_uri.removeprefix("file://"))
    made = Server(client, project, folder, run.info.run_id, commit, launched)
    made.lie()
    return made


def judge(server: Server, **params: str):
    arguments = [word for name, text in params.items() for word in (f"--{name.replace('_', '-')}", text)]
    return CliRunner().invoke(reproduce, ["--run-id", server.run_id, *arguments])


def test_the_run_would_be_repeated_if_nobody_lied(server):
    """Else every refusal below could be for another reason."""
    result = judge(server)
    assert server.launched, result.output
    (((_, step), named),) = server.launched
    assert (step, named["parameters"]) == ("preprocess", {"source": "sample:10", "taxi": "green", "reuse": "false"})


def source(**changes) -> Callable[[dict], None]:
    return lambda record: record["source"].update(changes)


def changed(**fields) -> Callable[[dict], None]:
    return lambda record: record.update(fields)


TOUCH = "touch pwned"
OUTPUT = {"name": "dataset", "uri": "runs:/" + "1" * 32 + "/dataset", "digest": hashlib.sha256(b"").hexdigest(),
          "files": {}, "volatile": []}  # fmt: skip
# what the record and the tags say alike: (the lie, words of the refusal)
LIES: dict[str, tuple[Callable, str]] = {
    "the remote is an option": (source(remote=f"--upload-pack={TOUCH}"), "is an option or a command"),
    "the remote is a command": (source(remote="ext::sh -c touch% pwned"), "is an option or a command"),
    "the remote is a helper": (source(remote=f"transport::{TOUCH}"), "is an option or a command"),
    "the remote is somebody else's": (source(remote="https://example.org/evil.git"), "not this project's repository"),
    "the remote has two lines": (source(remote="https://example.org/a\n--upload-pack=x"), "unprintable"),
    "the remote clears the screen": (source(remote="\x1b[2Jhttps://example.org"), "unprintable"),
    "the commit is an option": (source(commit=f"--upload-pack={TOUCH}"), "no whole commit id"),
    "the commit is a branch": (source(commit="main"), "no whole commit id"),
    "the commit has two lines": (source(commit="0" * 40 + "\n"), "no whole commit id"),
    "the commit is a number": (source(commit=7), "record"),
    "the folder is outside": (source(folder="../../etc"), "no plain relative path"),
    "the folder is absolute": (source(folder="/etc"), "no plain relative path"),
    "there is no source": (changed(source={}), "record"),
    "the source is a list": (changed(source=[]), "cannot be read"),
    "the step is a path": (changed(step="../../evil"), "a run of '../../evil'"),
    "the step is an option": (changed(step="--help"), "a run of '--help'"),
    "the step is no text": (changed(step=["preprocess"]), "cannot be read"),
    "the manager is an option": (lambda record: record["environment"].update(manager="--evil"), "is none of uv, conda"),
    "there is no environment": (changed(environment={}), "environment"),
    "the environment is a text": (changed(environment="x"), "cannot be read"),
    "the parameters are a list": (changed(params=["taxi"]), "cannot be read"),
    "a parameter is no text": (changed(params={"taxi": {"a": 1}}), "cannot be read"),
    "there is no taxi": (changed(params={}), "no 'None' trips"),
    "the taxi leaves the folder": (changed(params={"taxi": "../../x"}), "no '../../x' trips"),
    "an input is no input": (changed(inputs=[7]), "cannot be read"),
    "an input's digest is a number": (changed(inputs=[{"role": "2023-01", "uri": "x", "digest": 7}]), "cannot be read"),
    "an output is no output": (changed(outputs=[{}]), "cannot be read"),
    "an output is a file of this machine": (changed(outputs=[{**OUTPUT, "uri": "/etc/passwd"}]), "cannot be read"),
    "an output lies on another server": (changed(outputs=[{**OUTPUT, "uri": "http://127.0.0.1:9"}]), "cannot be read"),
    "an output clears the screen": (changed(outputs=[{**OUTPUT, "name": "\x1b[2J\nx"}]), "cannot be read"),
    "an output's file is outside": (changed(outputs=[{**OUTPUT, "files": {"../x": [1, A]}}]), "no plain relative path"),
    "an output has another digest": (changed(outputs=[{**OUTPUT, "digest": A}]), "does not have its own digest"),
    "the record is of a newer version": (changed(schema=99), "is of version 99, this project reads 1 to 2"),
    "the record has more fields": (changed(evil=1), "cannot be read"),
    "the record lacks fields": (lambda record: record.pop("placement") and None, "cannot be read"),
    "the record is no JSON": (lambda record: "{", "cannot be read"),
    "the record is a list": (lambda record: "[]", "cannot be read"),
    "the record is deep": (lambda record: "[" * 100_000, "cannot be read"),
    "the record is binary": (lambda record: "\ud800", "cannot be read"),
}  # fmt: skip


def assert_refused(server: Server, result, words: str) -> None:
    assert result.exit_code == 2, repr(result.exception)
    message = result.output[result.output.rfind("Error: ") :]
    assert words in message, message
    assert all(line.isprintable() for line in message.splitlines())
    assert len(message.splitlines()) <= 4
    assert server.launched == []
    assert not list(server.project.parent.rglob("pwned*"))


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_in_the_record_is_refused(server, lie):
    """Record and tags agree, as an owner of the server would make them; nothing is started."""
    change, words = LIES[lie]
    server.lie(change)
    assert_refused(server, judge(server), words)


CHANGED_TAGS = {
    "an option as the remote": {run_tags.EARLIER_REMOTE: "--upload-pack=touch pwned"},
    "a command as the remote": {run_tags.EARLIER_REMOTE: "ext::sh -c touch% pwned"},
    "another remote": {run_tags.EARLIER_REMOTE: "https://example.org/evil.git"},
    "two lines as the branch": {run_tags.EARLIER_BRANCH: "main\n--upload-pack=touch pwned"},
    "another commit": {names.COMMIT: "f" * 40},
    "MLflow's own commit": {"mlflow.source.git.commit": "f" * 40},
    "a parameter": {run_tags.EARLIER_PARAM + "taxi": "yellow"},
    "the raw month": {run_tags.EARLIER_INPUT + "2023-01": "b" * 64},
    "the inputs": {names.INPUTS: "{}"},
    "more outputs": {names.MADE + ".2": "{}"},
    "a patch": {run_tags.EARLIER_PATCH: "b" * 64},
}


@pytest.mark.parametrize("lie", CHANGED_TAGS)
def test_a_changed_tag_is_refused(server, lie):
    """Who reads the run's page and who repeats it are told the same, or nothing is repeated."""
    server.lie(tags=CHANGED_TAGS[lie])
    assert_refused(server, judge(server), "One of them was changed after the run: do not use the run.")


PATCHES = {
    "out of the clone": ("a/../pwned", "100644"),
    "into git's folder": ("a/.git/hooks/post-checkout", "100755"),
    "into git's folder by another name": ("a/.GIT/hooks/post-checkout", "100755"),
    "two lines": ("a/x\\n../pwned", "100644"),
    "a link out of the clone": ("a/link", "120000"),
    "a submodule": ("a/sub", "160000"),
}


@pytest.mark.parametrize("allowed", ["true", "false"])
@pytest.mark.parametrize("attack", PATCHES)
def test_a_hostile_patch_is_refused(server, attack, allowed):
    """Digest and all are the attacker's, and the user trusts the author: the path alone gives it away."""
    path, mode = PATCHES[attack]
    quoted = f'"{path}" "b{path[1:]}"'
    text = f'diff --git {quoted}\nnew file mode {mode}\n--- /dev/null\n+++ "b{path[1:]}"\n@@ -0,0 +1 @@\n+/etc/pwned\n'
    patch = (text + ("\\ No newline at end of file\n" if mode == "120000" else "")).encode()
    (server.folder / names.PATCH_FILE).write_bytes(patch)
    server.lie(source(dirty=True, patch=hashlib.sha256(patch).hexdigest(), tree="0" * 40))
    result = judge(server, patch=allowed)
    assert result.exit_code == 2, repr(result.exception)
    assert server.launched == []
    assert not list(server.project.parent.rglob("pwned*"))
    assert not list(server.project.rglob("post-checkout"))


PARAMETERS = {
    "a shell's": ("source", "'x; touch pwned'"),
    "quotes that do not end": ("source", "'x"),
    "several words": ("source", "x --import-module os"),
    "no word": ("taxi", ""),
}


@pytest.mark.parametrize("lie", PARAMETERS)
def test_a_hostile_parameter_is_one_word_or_refused(server, lie):
    """What MLflow logs is quoted for a shell: anything else was not logged by it."""
    name, value = PARAMETERS[lie]
    with contextlib.closing(sqlite3.connect(server.client.tracking_uri.removeprefix("sqlite:///"))) as store:
        store.execute("update params set value = ? where key = ?", (value, name))
        store.execute("insert into params (key, value, run_uuid) values ('import-module', 'os', ?)", (server.run_id,))
        store.commit()
    result = judge(server)
    if lie == "a shell's":
        ((_, named),) = server.launched
        # Where months lie is what the record says, with which the digests were compared.
        assert named["parameters"] == {"source": "sample:10", "taxi": "green", "reuse": "false"}
    else:
        assert_refused(server, result, "which `mlflow run` never writes")


UNUSABLE = {
    "a run that goes on": ({"mlflow.user": "ada"}, None, "is still running"),
    "a run that failed": ({}, "FAILED", "did not finish (FAILED)"),
    "a run that was killed": ({}, "KILLED", "did not finish (KILLED)"),
    "a trial": ({names.TRIAL: "3", names.PARENT: "1" * 32}, "FINISHED", "is trial '3' of hpo run '1111"),
    "a verdict": ({names.REPRODUCTION_OF: "1" * 32}, "FINISHED", "is a verdict on run '1111"),
    "a comparison": ({names.ENTRY_POINT: "compare"}, "FINISHED", "is a run of compare, which makes nothing to repeat"),
    "a run that is none of ours": ({}, "FINISHED", "is no run of this project"),
    "a run without outputs": ({names.STEP: "train"}, "FINISHED", "left no finished outputs"),
}


@pytest.mark.parametrize("kind", UNUSABLE)
def test_what_cannot_be_repeated_says_what_to_give_instead(server, kind):
    """One clear error for each run that somebody may take for one."""
    tags, status, words = UNUSABLE[kind]
    run_id = server.client.create_run("0", tags=tags).info.run_id
    if status:
        server.client.set_terminated(run_id, status)
    server.run_id = run_id
    assert_refused(server, judge(server), words)


@pytest.mark.parametrize("run_id", ["0" * 32, "../../etc/passwd", "none of mine", "\x1b[2J"])
def test_an_id_of_no_run_is_refused(server, run_id):
    """Also one that is none at all."""
    server.run_id = run_id
    assert_refused(server, judge(server), "cannot be read")


def test_a_run_can_be_named_as_mlflow_names_it(server):
    """`runs:/<id>`, as pages of the UI have it."""
    server.run_id = f"runs:/{server.run_id}"
    judge(server)
    assert server.launched

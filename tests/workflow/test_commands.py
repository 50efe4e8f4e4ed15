"""Every command that the pages show, typed as it stands, with an empty home: it works, and prints what the page says.

The commands of a page are typed in their order in a clone of the project, right after `make run`. Two kinds of people
type: one has the launcher of `make setup` and no MLflow on PATH; the other has an MLflow of their own, with uv.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support import repository
from tests.support.documented import BLOCK, PAGES, Command, commands, matches, of_page
from tests.support.mirror import publish
from tests.support.processes import background, free_port, git_daemon, wait_for_answer
from tests.support.project import LAUNCHER, ROOT, copied, environment

SECONDS = 1800  # patience for one command on a busy machine
TLC = "it asks TLC's site for months"
SERVER = "it needs a team's server and its password"
TLS = "it needs a cluster with certificates: tests/taxi/distributed has one"
TESTS = "it runs tests"
LATER = "it needs a newer commit of the project: tests/examples/test_wine.py makes one"
# What cannot be typed here, whole or by its beginning, and why.
NOT_TYPED = {
    "pip install mlflow==": "the test installs the same, with the locked versions of what MLflow needs",
    ".venv/bin/mlflow run . -e course": TLC,
    '.venv/bin/python -m pytest -n auto --dist loadfile -m "not slow"': TESTS,
    "make soak": TESTS,
    ".venv/bin/python -m pytest -m slow tests/workflow/test_team.py": TESTS,
    "export DASK_DISTRIBUTED__COMM__TLS__": TLS,
    "mlflow run /path/to/this/project -e hpo -P engine=dask:tls://": TLS,
    "export MLFLOW_TRACKING_U": SERVER,
    ".venv/bin/mlflow run . -e main --experiment-name trips": SERVER,
    ".venv/bin/python - <<'PYTHON'\nfrom mlflow.server.auth": SERVER,
    ".venv/bin/mlflow models build-docker": "it needs Docker, and builds an image of 1.6 GB",
    "uvx copier@9.19.1 update": LATER,
}
# Typed once, where they stand first: they take a `main` without reuse each.
TYPED_BEFORE = {("CONTRIBUTING.md", ".venv/bin/mlflow run . -e verify -P write=true")}
SHOWN = ("train", "reproduce")  # entry points of the commands on pages of runs and on cards
SERVERS = {  # what answers until Ctrl-C, and where
    "make ui": "http://127.0.0.1:{ui}/health",
    ".venv/bin/mlflow models serve": "http://127.0.0.1:{serve}/ping",
}
BEFORE = {  # what the page takes for granted
    "docs/reproduce.md": (".venv/bin/mlflow run . -e train -P model=linear",),
    "docs/registry.md": (
        ".venv/bin/mlflow run . -e main -P model=linear -P model_name=nyc-taxi-duration",
        ".venv/bin/mlflow run . -e main -P model_name=nyc-taxi-duration",
    ),
    "docs/launchers.md": ("mkdir -p {new} && cp -r mlflow.db mlruns {new}",),
}


@dataclass
class Desk:
    """A clone with a store, in which somebody types. The shell's folder and variables last from command to command."""

    clone: Path
    url: str  # of a git remote of the project
    plain: Path  # the folder with an `mlflow` of their own, and uv
    months: Path  # TLC's, or such as TLC's
    variables: dict[str, str]
    words: dict[str, str] = field(default_factory=dict)  # what stands in a page -> what to type
    begun: list[subprocess.Popen] = field(default_factory=list)

    @property
    def elsewhere(self) -> Path:
        return self.clone.parent / "elsewhere"

    def filled(self, text: str) -> str:
        """The command with what its reader has to fill in."""
        for word, value in self.words.items():
            text = text.replace(word, value)
        assert not re.search(r"<[\w ]+>|/path/to|/home/you", text), f"something is left to fill in: {text}"
        return text

    def type(self, text: str) -> tuple[str, str]:
        """What it printed to stdout and stderr; fails when it failed. What goes on beside it ends with the page."""
        text = self.filled(text)
        state, out, err = (self.clone.parent / name for name in ("state", "out", "err"))
        own = bool(re.match(r"(mlflow|uvx) ", text))
        path = f'command -v mlflow > /dev/null || PATH="{self.plain}:$PATH"\n' if own else ""
        command = f"(\n{path}{text}\n)" if own else text
        script = (
            f'. "{state}"\nset -a\n{command}\nstatus=$?\n(export -p; echo "cd \'$PWD\'") > "{state}"\nexit $status\n'
        )
        if not state.exists():
            state.write_text(f"cd '{self.clone}'\n")
        with out.open("w") as stdout, err.open("w") as stderr:
            shell = subprocess.Popen(["bash", "-c", script], cwd=self.clone, env=self.variables, stdout=stdout,
                                     stderr=stderr, stdin=subprocess.DEVNULL, start_new_session=True)  # fmt: skip
            self.begun.append(shell)
            code = shell.wait(SECONDS)
        printed = out.read_text(), err.read_text()
        assert code == 0, "\n".join([text, f"exit code {code}", *printed])
        return printed

    def leave(self) -> None:
        """End what was left running, and close the shell."""
        for shell in self.begun:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)
        self.begun.clear()
        (self.clone.parent / "state").unlink(missing_ok=True)


def without_launchers(path: str) -> str:
    """PATH without folders that have an MLflow or uv: neither is there unless a page says so."""
    folders = path.split(os.pathsep)
    return os.pathsep.join(one for one in folders if not any(Path(one, name).exists() for name in ("mlflow", "uv")))


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Path:
    """The programs of an environment made by `pip install mlflow==3.17.2 uv`, its packages in the locked versions."""
    folder = tmp_path_factory.mktemp("plain") / "environment"
    [words] = {c.text.removeprefix("pip install ") for c in of_page("README.md") if c.text.startswith("pip install ")}
    uv = LAUNCHER.with_name("uv")
    subprocess.run([uv, "venv", "-q", "--python", sys.executable, folder], check=True)
    locked = folder / "locked.txt"  # without hashes, which constraints must not have
    pins = "".join((ROOT / name).read_text() for name in ("requirements.lock", "requirements-dev.lock"))
    locked.write_text("\n".join(dict.fromkeys(re.findall(r"(?m)^([\w.-]+==.*?) *\\$", pins))))
    install = [uv, "pip", "install", "-q", "--python", folder / "bin" / "python", "-c", locked, *words.split()]
    subprocess.run(install, check=True)
    return folder / "bin"


@pytest.fixture(scope="module")
def months(tmp_path_factory) -> Path:
    """A folder of months, named as TLC's."""
    folder = tmp_path_factory.mktemp("months")
    for month in ("2023-01", "2023-02", "2023-03", "2023-04"):
        publish(folder, month, 3000)
    return folder


@pytest.fixture(scope="module")
def desk(tmp_path_factory, plain, months) -> Iterator[Desk]:
    """A clone of a published repository, and an empty home."""
    folder = tmp_path_factory.mktemp("commands")
    repository.commit(copied(folder / "published" / "nyc-taxi-duration"))
    home = folder / "home"
    home.mkdir()
    cache = subprocess.run([LAUNCHER.with_name("uv"), "cache", "dir"], capture_output=True, text=True, check=True)
    authors = {name: value for name, value in repository.ENVIRONMENT.items() if name.startswith("GIT_")}
    user = {
        "HOME": str(home),
        "USER": "you",
        "LOGNAME": "you",
        "PATH": without_launchers(os.environ["PATH"]),
        "UV_CACHE_DIR": cache.stdout.strip(),
        "MLFLOW_PORT": str(free_port()),  # of `make ui`
        "PYTHONWARNINGS": "ignore",
    }
    with git_daemon(folder / "published") as url:
        yield Desk(folder / "clone", f"{url}/nyc-taxi-duration", plain, months, {**environment(), **authors, **user})


def clone(desk: Desk) -> None:
    """A fresh clone, with the launcher as `make setup` leaves it."""
    repository.run(desk.clone.parent, "clone", "-q", desk.url, str(desk.clone))
    (desk.clone / ".git" / "info" / "exclude").write_text(".venv\n")  # a link, which .gitignore does not mean
    (desk.clone / ".venv").symlink_to(LAUNCHER.parents[1])
    for name in (
        "requirements.lock",
        "requirements-dev.lock",
        "launcher.pth",
        "provenance/bootstrap/first_use_lock.py",
    ):
        os.utime(desk.clone / name, (0, 0))  # older than .venv/ready, or make would make the launcher anew
    assert subprocess.run(["make", "-q", "setup"], cwd=desk.clone).returncode == 0


@pytest.fixture(scope="module")
def made(desk) -> Iterator[tuple[str, str]]:
    """What `make run` printed. The clone with its store is kept beside it, for each page to begin with."""
    clone(desk)
    try:
        printed = desk.type("make run")
    finally:
        desk.leave()
    desk.clone.rename(desk.clone.with_name("made"))
    yield printed


@pytest.fixture
def begun(desk, made, monkeypatch) -> Iterator[Desk]:
    """The clone as `make run` left it."""
    shutil.copytree(desk.clone.with_name("made"), desk.clone, symlinks=True)
    desk.elsewhere.mkdir()
    shutil.copy(desk.months / "green_tripdata_2023-04.parquet", desk.clone)
    desk.words = {
        "https://github.com/<you>/nyc-taxi-duration": desk.url,
        "<git URL>": desk.url,
        "<full commit sha>": repository.run(desk.clone, "rev-parse", "HEAD"),
        "/path/to/this/project": str(desk.clone),
        "cd /tmp": f"cd {desk.elsewhere}",
        "sqlite:////home/you/": f"sqlite:///{desk.clone}/",
        "/new/place": str(desk.elsewhere / "place"),
        "{new}": str(desk.elsewhere / "place"),
        "source=tlc": f"source={desk.months}",  # as the comment beside it says
        "models:/nyc-taxi-duration@": "models:/nyc-taxi-duration-sample@",  # as the text below it says
        "8786": str(free_port()),
        "5001": str(free_port()),
    }
    try:
        yield desk
    finally:
        desk.leave()
        shutil.rmtree(desk.clone)
        shutil.rmtree(desk.elsewhere)


def rows(desk: Desk, query: str) -> list[tuple[str, ...]]:
    """Of the store as it is now: MLflow's client in this process would keep an earlier page's database open."""
    with contextlib.closing(sqlite3.connect(desk.clone / "mlflow.db")) as database:
        return database.execute(query).fetchall()


def fill_in_runs(desk: Desk) -> None:
    """The newest run of `train` that is no repetition, and another one of the same project, if there is one."""
    found = rows(
        desk,
        "SELECT runs.run_uuid, project.value FROM runs"
        " JOIN tags step USING (run_uuid) JOIN tags project USING (run_uuid)"
        " LEFT JOIN tags parent ON parent.run_uuid = runs.run_uuid AND parent.key = 'mlflow.parentRunId'"
        " LEFT JOIN tags above ON above.run_uuid = parent.value AND above.key = 'mlflow.project.entryPoint'"
        " WHERE step.key = 'lineage.step' AND step.value = 'train' AND coalesce(above.value, 'main') = 'main'"
        " AND project.key = 'lineage.project'"
        " ORDER BY start_time DESC",
    )
    newest, *older = [run_id for run_id, project in found if project == found[0][1]]
    desk.words |= {"a=<id>": f"a={(older or [newest])[0]}", "b=<id>": f"b={newest}", "<id>": newest}


def why_not(command: Command) -> str:
    return next((why for start, why in NOT_TYPED.items() if command.text.startswith(start)), "")


def alike(text: str, desk: Desk) -> str:
    """Without what differs from run to run: ids, dates, folders."""
    text = text.replace(str(desk.clone), "/home/you")
    text = re.sub(r"\b[0-9a-f]{32}\b", "<id>", text)
    text = re.sub(r"\brun [0-9a-f]{8}\b", "run <id>", text)
    return re.sub(r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\dZ)?", "<time>", text)


def check_printed(command: Command, printed: tuple[str, str], desk: Desk) -> None:
    """What the page shows is what stdout had, or both."""
    expected = alike(command.expected, desk)
    out, err = (alike(text, desk) for text in printed)
    assert not expected or matches(expected, out) or matches(expected, err + out), f"{command.text}\n{out}\n{err}"


def type_page(page: str, desk: Desk, made: tuple[str, str]) -> None:
    for text in BEFORE.get(page, ()):
        desk.type(text)
    with contextlib.ExitStack() as servers:
        for command in of_page(page):
            if why_not(command) or (page, command.text) in TYPED_BEFORE:
                continue
            fill_in_runs(desk)
            server = next((url for start, url in SERVERS.items() if command.text.startswith(start)), "")
            if command.text == "make run":
                check_printed(command, made, desk)
            elif server:
                servers.enter_context(served(desk, command.text, server))
            else:
                check_printed(command, desk.type(command.text), desk)


@contextlib.contextmanager
def served(desk: Desk, text: str, url: str) -> Iterator[None]:
    """The server that the command starts, until the end of the page."""
    text, log = desk.filled(text), desk.clone.parent / "server.log"
    ports = {"ui": desk.variables["MLFLOW_PORT"], "serve": desk.words["5001"]}
    with background(["bash", "-c", f"exec {text}"], log, desk.variables, desk.clone) as server:
        wait_for_answer(url.format(**ports), log, server)
        if text == "make ui":  # its first line is where to look
            assert log.read_text().startswith(f"runs: http://127.0.0.1:{ports['ui']}/#/")
        yield


def test_what_is_left_out_may_be_anything():
    """A line `...` is any lines, `...` in a line any text; nothing else may be left out."""
    assert matches("...\na ... c\n...", "x\n\ny\na  b c\n")
    assert not matches("a\n", "a\nb\n")
    assert not matches("...\nb\n", "a\n")


def test_commands_are_found_as_a_reader_types_them():
    """With and without prompts, over several lines, without comments; a last expression of Python is shown."""
    blocks = (
        "console\n$ a -b  # why\nout\n$ c\n",
        "console\n# why\nd 'e\nf'\ng &\n",
        "python\nx = 1\nx\n",
        "text\n1\n",
    )
    page = "".join(f"```{block}```\n" for block in blocks)
    assert commands(page) == [
        Command("a -b", "out\n"),
        Command("c"),
        Command("d 'e\nf'"),
        Command("g &"),
        Command(".venv/bin/python - <<'PYTHON'\nx = 1\nprint(\nx\n)\nPYTHON", "1\n"),
    ]


def test_what_is_not_typed_is_there():
    """Any other command of a page is typed, a new one too; none is left out that no page has any more."""
    texts = [command.text for page in PAGES for command in of_page(page)]
    assert len(texts) > 60
    assert [start for start in NOT_TYPED if not any(text.startswith(start) for text in texts)] == []
    for page, text in TYPED_BEFORE:
        assert any(one.text == text for one in of_page(page))
        assert any(one.text == text for other in PAGES if other != page for one in of_page(other)), text


@pytest.mark.parametrize("page", PAGES)
def test_commands_stand_in_console_blocks(page):
    """Where this test finds them."""
    text = (ROOT / page).read_text()
    others = [content for kind, content in BLOCK.findall(text) if kind not in ("console", "cron", "yaml")]
    lines = [line for content in others for line in content.splitlines()]
    lines += [line for line in BLOCK.sub("", text).splitlines() if line.startswith("    ")]
    assert [line for line in lines if re.match(r"\s*(\$ |\S*mlflow |make |uvx? |pip |curl |git )", line)] == []


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if any(not why_not(one) for one in of_page(page))])
def test_the_commands_of_a_page_work(begun, made, page):
    """In their order; a figure that the page shows is the one that is printed."""
    type_page(page, begun, made)


@pytest.mark.slow
def test_the_commands_that_runs_and_cards_show_work(begun):
    """On the page of a run, on the card of a version: typed as they stand."""
    texts = shown(begun)
    assert {text.partition(" -P ")[0] for text in texts} == {f".venv/bin/mlflow run . -e {step}" for step in SHOWN}
    for text in texts:
        begun.type(text)


def shown(desk: Desk) -> list[str]:
    """The commands in the descriptions of runs and versions."""
    pages = rows(desk, "SELECT value FROM tags WHERE key = 'mlflow.note.content'")
    pages += rows(desk, "SELECT description FROM model_versions")
    return [text for (page,) in pages for text in re.findall(r"(?:`|^)(\S*mlflow [a-z]+ [^`\n]+)", page, re.M)]


@pytest.mark.slow
def test_readmes_commands_work_with_an_mlflow_of_ones_own(begun):
    """As README says, `mlflow` in place of `.venv/bin/mlflow` and `--env-manager uv`."""
    shutil.rmtree(begun.clone)
    repository.run(begun.clone.parent, "clone", "-q", begun.url, str(begun.clone))
    shutil.copy(begun.months / "green_tripdata_2023-04.parquet", begun.clone)
    [chain] = [one.text for one in of_page("README.md") if re.match(r"mlflow run \. ", one.text)]
    [expected] = [one for one in of_page("README.md") if one.text == "make run"]
    printed = begun.type(chain)
    check_printed(expected, printed, begun)
    look = re.search(r"(?m)^look: (.+), then$", printed[0])
    assert look and look[1].startswith("mlflow ui --backend-store-uri ")
    own = [one.text for one in of_page("README.md") if one.text.startswith(".venv/bin/mlflow run") and not why_not(one)]
    assert len(own) > 4
    fill_in_runs(begun)
    for text in [*own, *(text for text in shown(begun) if " -e train " in text)]:
        begun.type(f"{text.removeprefix('.venv/bin/')} --env-manager uv")

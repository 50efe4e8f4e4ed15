"""Pictures of a run's pages in MLflow, at the width of a desk and of a telephone: `make pictures`.

Starts `mlflow ui` on this folder's store and a headless Chromium, opens the pages of the newest finished `main` (or of
the run given) and writes docs/pictures/<page>-<width>.png. Nothing is drawn by hand.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

FOLDER = Path(__file__).parent / "pictures"
WIDTHS = {1280: 900, 390: 844}  # pixels: a desk's and a telephone's window, width and height
TRAINING = "workflowType=machine_learning"  # else MLflow puts its menu for language models beside the page
NARROW = 600  # pixels, below which the side bar hides the page
SECONDS = 120  # for a page to come up
# A browser that is driven by pipes reads 3 and writes 4.
AS_3_AND_4 = "import os, sys; [os.dup2(int(sys.argv[n]), n + 2) for n in (1, 2)]; os.execvp(sys.argv[3], sys.argv[3:])"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


class Page:
    """One tab of a headless browser, driven through the DevTools protocol over a pair of pipes."""

    def __init__(self, read: int, write: int):
        self._read, self._write = os.fdopen(read, "rb"), os.fdopen(write, "wb")
        self._number, self._session = 0, None
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.ask("Page.enable")

    def ask(self, method: str, **params: object) -> dict[str, Any]:
        """The answer to one command. Raises RuntimeError for an error."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        self._write.write(
            json.dumps(message | ({"sessionId": self._session} if self._session else {})).encode() + b"\0"
        )
        self._write.flush()
        while True:
            answer = json.loads(self._message())
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]

    def _message(self) -> bytes:
        letters = bytearray()
        while (letter := self._read.read(1)) != b"\0":
            if not letter:
                raise RuntimeError("the browser ended")
            letters += letter
        return bytes(letters)

    def js(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page."""
        return self.ask("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def open(self, address: str, width: int, until: str) -> None:
        """Open `address` at `width` pixels; wait until the page shows the text `until` and nothing moves any more."""
        height = WIDTHS[width]
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.ask("Page.navigate", url="about:blank")
        self.ask("Page.navigate", url=address)
        self.wait(f"document.body.innerText.includes({json.dumps(until)})")

    def wait(self, condition: str) -> None:
        """Until `condition` holds and the page's text has not changed for a second."""
        end, before, since = time.monotonic() + SECONDS, None, time.monotonic()
        while time.monotonic() < end:
            text = self.js("document.body ? document.body.innerText : null")
            if text != before:
                before, since = text, time.monotonic()
            elif time.monotonic() > since + 1 and self.js(condition):
                return
            time.sleep(0.2)
        raise TimeoutError(f"the page never showed {condition}: {before!r:.500}")

    def click(self, text: str) -> None:
        """Click the first button, tab or link that reads `text`, or is labelled so."""
        found = (
            "[...document.querySelectorAll('button,[role=tab],a,[role=button],[role=treeitem],li span')]"
            f".find(e => [e.innerText, e.ariaLabel].some(t => (t || '').trim().startsWith({json.dumps(text)})))"
        )
        self.wait(f"!!{found}")
        self.js(f"{found}.click()")

    def save(self, name: str, width: int, folder: Path) -> None:
        """What the window shows, as <name>-<width>.png."""
        picture = self.ask("Page.captureScreenshot", format="png")["data"]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}-{width}.png").write_bytes(base64.b64decode(picture))
        print(folder / f"{name}-{width}.png")


def _pipe() -> tuple[int, int]:
    """The ends of a pipe, both above those that the browser is to find."""
    ends = os.pipe()
    moved = tuple(fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in ends)
    for end in ends:
        os.close(end)
    return moved[0], moved[1]


@contextlib.contextmanager
def browser() -> Iterator[Page]:
    """A headless Chromium; it ends with the block."""
    command = next(filter(None, map(shutil.which, BROWSERS)), None)
    if command is None:
        sys.exit(f"make pictures needs a browser, one of {', '.join(BROWSERS)}: none is on PATH.")
    theirs_read, ours_write = _pipe()
    ours_read, theirs_write = _pipe()
    with tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True) as profile:
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={profile}"]
        started = [sys.executable, "-c", AS_3_AND_4, str(theirs_read), str(theirs_write), command]
        process = subprocess.Popen(
            [*started, "--remote-debugging-pipe", *flags],
            pass_fds=(theirs_read, theirs_write),
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_read)
        os.close(theirs_write)
        try:
            yield Page(ours_read, ours_write)
        finally:
            process.kill()
            process.wait()


@contextlib.contextmanager
def pages(store: str) -> Iterator[str]:
    """The address of MLflow's pages on `store`; they end with the block."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    mlflow = str(Path(sys.executable).parent / "mlflow")
    command = [mlflow, "ui", "--backend-store-uri", store, "--port", str(port), "--workers", "1"]
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        end = time.monotonic() + SECONDS
        while True:
            with contextlib.suppress(OSError), urllib.request.urlopen(address, timeout=5):
                break
            if process.poll() is not None or time.monotonic() > end:
                sys.exit(f"mlflow ui did not come up on {store}")
            time.sleep(0.5)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


@dataclass(frozen=True)
class Shot:
    """One picture: where it is taken, which text shows that the page is there, and what is clicked before."""

    name: str
    path: str
    until: str
    clicks: tuple[str, ...] = ()


def shots(store: str, run_id: str) -> list[Shot]:
    """The pages of a finished `main`, or of the newest one. Ends the script where there is none."""
    from mlflow import MlflowClient

    client = MlflowClient(store)
    if run_id == "newest":
        every = [experiment.experiment_id for experiment in client.search_experiments()]
        query = "tags.`lineage.step` = 'main' and attributes.status = 'FINISHED'"
        found = client.search_runs(every, query, max_results=100, order_by=["attributes.end_time DESC"])
        own = [run for run in found if "mlflow.parentRunId" not in run.data.tags]  # not the repetition of a `verify`
        if not own:
            sys.exit(f"no finished main in {store}\n Run `make run` first.")
        run_id = own[0].info.run_id
    run = client.get_run(run_id)
    home = f"experiments/{run.info.experiment_id}"
    steps = json.loads(run.data.tags["lineage.steps"])
    uri = json.loads(run.data.tags["lineage.made"])["register.version"].split()[0]
    version = uri.removeprefix("models:/").split("/")
    query = f"tags.`mlflow.parentRunId` = '{steps['hpo']}' and attributes.status = 'FINISHED'"
    order = ["metrics.val_rmse ASC"]
    trials = client.search_runs([run.info.experiment_id], query, max_results=5, order_by=order)
    ids, experiments = ([trial.info.run_id for trial in trials], [run.info.experiment_id])
    compared = f"runs={quote(json.dumps(ids))}&experiments={quote(json.dumps(experiments))}"
    model = client.get_model_version(*version).source.removeprefix("models:/")
    plots = f"{home}/runs/{steps['register']}/artifacts/plots"
    search = f"{home}/runs/{steps['hpo']}/artifacts/plots"
    return [
        Shot("runs", f"{home}/runs", "main"),
        Shot("main", f"{home}/runs/{run_id}", "Description"),
        *(Shot(step, f"{home}/runs/{made}", "Description") for step, made in steps.items()),
        Shot("dataset", f"{home}/runs/{steps['train']}", "Description", ("green train",)),
        Shot("model", f"{home}/models/{model}", "Description"),
        Shot("version", f"models/{version[0]}/versions/{version[1]}", "Description"),
        Shot("compare", f"compare-runs?{compared}", "Comparing"),
        Shot("errors", f"{plots}/error_by_distance.png", "error_by_distance.png"),
        Shot("effects", f"{plots}/shap_summary.png", "shap_summary.png"),
        Shot("trials", f"{search}/trials.csv", "trials.csv"),
        Shot("parallel", f"{search}/parallel_coordinates.html", "parallel_coordinates.html"),
    ]  # fmt: skip


# What a person closes at the first visit: MLflow's assistant, which takes a third of the window, and its side bar.
CLOSED = {"mlflow.assistant.panelOpen_v1": "false", "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1": "true"}


def take(address: str, wanted: list[Shot], folder: Path) -> None:
    """Each page at each width."""
    with browser() as page:
        for width in WIDTHS:
            page.open(address, width, "Experiments")
            for key, value in CLOSED.items():
                page.js(f"localStorage.setItem({json.dumps(key)}, {json.dumps(value)})")
            for shot in wanted:
                page.open(f"{address}/#/{shot.path}{'&' if '?' in shot.path else '?'}{TRAINING}", width, shot.until)
                if width < NARROW:
                    page.click("Toggle sidebar")
                for text in shot.clicks:
                    page.click(text)
                page.wait("true")
                page.save(shot.name, width, folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", default="sqlite:///mlflow.db", help="tracking store of the run")
    parser.add_argument("--run", default="newest", help="id of a finished main")
    parser.add_argument("--pages", default="", help="comma-separated names of pages; all of them otherwise")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    given = parser.parse_args()
    wanted = [shot for shot in shots(given.store, given.run) if not given.pages or shot.name in given.pages.split(",")]
    with pages(given.store) as address:
        take(address, wanted, given.folder)


if __name__ == "__main__":
    main()

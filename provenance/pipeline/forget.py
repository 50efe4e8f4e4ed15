"""Delete a run that `mlflow run` made and that must not stay, after the launcher has written its last status."""

if __name__ == "__main__":
    from provenance.bootstrap.start import start_step

    start_step()

import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from provenance.bootstrap.project import ROOT

if TYPE_CHECKING:
    from mlflow import MlflowClient

SECONDS = 600  # a launcher writes the last status about a second after its step ends; a busy machine needs a minute


def delete_once_launched(client: "MlflowClient", run_id: str, project: str) -> None:
    """Delete the run that `mlflow run` made for this step, in another process, when the launcher has finished it.

    The run gets a mark of this process first. The other process deletes the run only if it still has this mark.
    """
    from mlflow.exceptions import MlflowException

    from provenance.record.writer import set_tags
    from provenance.reuse import heartbeat

    mark = heartbeat.Heartbeat(client, run_id, project).tags()
    try:
        set_tags(client, run_id, mark)
    except MlflowException:
        return  # the server is not available, or the run belongs to another user: it stays
    subprocess.Popen(
        [sys.executable, "-m", "provenance.pipeline.forget", run_id, json.dumps(mark)],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def main(run_id: str, mark: dict[str, str]) -> None:
    """Delete run `run_id` if it still has the tags `mark`."""
    from mlflow import MlflowClient

    client, deadline = MlflowClient(), time.monotonic() + SECONDS
    while (run := client.get_run(run_id)).info.status == "RUNNING" and time.monotonic() < deadline:
        time.sleep(0.1)
    if mark.items() <= run.data.tags.items():
        client.delete_run(run_id)


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))

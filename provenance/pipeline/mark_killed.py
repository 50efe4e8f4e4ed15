"""Mark a run as KILLED after its launcher has written its last status.

MLflow marks each run as FAILED whose step did not exit with 0, even if the step had marked it as KILLED. An interrupted
step starts this module as a process of its own when it ends.
"""

if __name__ == "__main__":
    from provenance.bootstrap.start import start_step

    start_step()

import sys
import time

SECONDS = 600  # a launcher writes the last status about a second after its step ends; a busy machine needs a minute


def main(run_id: str, launcher: int) -> None:
    """Wait until the process `launcher` changes the status of run `run_id` or ends, then set it to KILLED again."""
    from mlflow import MlflowClient

    from provenance.reuse.heartbeat import process_name

    client, deadline = MlflowClient(), time.monotonic() + SECONDS
    while client.get_run(run_id).info.status == "KILLED" and process_name(launcher) and time.monotonic() < deadline:
        time.sleep(0.1)
    if client.get_run(run_id).info.status != "KILLED":
        client.set_terminated(run_id, "KILLED")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))

"""Mark a run as killed once its launcher has written its last status: MLflow calls each run FAILED whose step did not
end with 0, whatever the step said. An interrupted step starts this as it ends.
"""

if __name__ == "__main__":
    from provenance.bootstrap.start import start_step

    start_step()

import sys
import time

SECONDS = 600  # a launcher writes the last status a second after its step's end, on a busy machine in a minute


def main(run_id: str, launcher: int) -> None:
    from mlflow import MlflowClient

    from provenance.reuse.heartbeat import process_name

    client, deadline = MlflowClient(), time.monotonic() + SECONDS
    while client.get_run(run_id).info.status == "KILLED" and process_name(launcher) and time.monotonic() < deadline:
        time.sleep(0.1)
    if client.get_run(run_id).info.status != "KILLED":
        client.set_terminated(run_id, "KILLED")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))

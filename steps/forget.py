"""Delete a run once its launcher has written its last status. `plan`, which leaves no run, starts this as it ends."""

import sys
import time

SECONDS = 60  # a launcher writes the last status within a second of its step's end


def main(run_id: str) -> None:
    from mlflow import MlflowClient

    client, deadline = MlflowClient(), time.monotonic() + SECONDS
    while client.get_run(run_id).info.status == "RUNNING" and time.monotonic() < deadline:
        time.sleep(0.1)
    client.delete_run(run_id)


if __name__ == "__main__":
    main(sys.argv[1])

"""Where to look at a run in MLflow's pages, for the terminal."""

from __future__ import annotations

import mlflow

from provenance.git.command import without_credentials
from provenance.pipeline.invocation import OWN_LAUNCHER, invocation, launcher_folder
from provenance.pipeline.session import Session
from provenance.registry.promotions import throwaway

HERE = "http://127.0.0.1:5000"  # where `mlflow ui` serves
TRAINING = "?workflowType=machine_learning"  # else MLflow puts its menu for language models beside the page


def look(session: Session, name: str, version: str) -> list[str]:
    """How to start MLflow's pages, where nothing serves them, and the addresses of the run and of the version.

    Nothing of a repetition: its version is deleted with it.
    """
    if throwaway():
        return []
    store, info = without_credentials(mlflow.get_tracking_uri()), session.open_run.info
    served = store.startswith(("http://", "https://"))
    # A run of a git URL has a Makefile, too, in a folder that is none of the user's.
    ours = launcher_folder().resolve() == session.root.resolve() and (session.root / "Makefile").is_file()
    program = invocation().program
    start = "make ui" if ours and program == OWN_LAUNCHER else f"{program} ui --backend-store-uri {store}"
    base = f"{store.rstrip('/')}/#" if served else f"{HERE}/#"
    return [
        "look:" if served else f"look: {start}, then",
        f"  {base}/experiments/{info.experiment_id}/runs/{info.run_id}{TRAINING}",
        f"  {base}/models/{name}/versions/{version}",
    ]

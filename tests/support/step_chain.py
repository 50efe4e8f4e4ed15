"""A small chain, step by step in this process, that something is done to."""

import importlib
import os
from dataclasses import dataclass, field

from click.testing import CliRunner, Result
from mlflow import MlflowClient

from provenance.record import names
from provenance.reuse.cache import read_lineage

DATA = {"source": "sample:1000"}
SEARCH = {**DATA, "max_evals": "3", "top_n": "2", "workers": "2"}
PARAMS = {"preprocess": DATA, "train": DATA, "hpo": SEARCH, "register": SEARCH}


@dataclass(frozen=True)
class Chain:
    """The steps of PARAMS in one experiment of the store that `client` speaks to, as MLflow's environment says."""

    client: MlflowClient
    experiment: str
    digests: dict[str, dict[str, str]] = field(default_factory=dict, kw_only=True)  # of outputs, undisturbed, by step

    def run(self, step: str) -> Result:
        os.environ.pop("MLFLOW_RUN_ID", None)
        words = [word for name, value in PARAMS[step].items() for word in ("--" + name.replace("_", "-"), value)]
        return CliRunner().invoke(getattr(importlib.import_module(f"steps.{step}"), step), words)

    def outputs(self, step: str) -> dict[str, str]:
        """Digests of what the newest finished run of `step` left."""
        query = f"tags.`{names.STEP}` = '{step}' and tags.`{names.OUTPUTS}` != '' and attributes.status = 'FINISHED'"
        [run] = self.client.search_runs([self.experiment], query, max_results=1)
        return {output.name: output.digest for output in read_lineage(run).outputs}

    def forget(self, step: str) -> None:
        """The chain up to `step` is there, and then as if `step` had never been run."""
        for name in list(PARAMS)[: list(PARAMS).index(step) + 1]:
            if name not in self.digests:
                result = self.run(name)
                assert result.exit_code == 0, (result.stderr, result.exc_info)
                self.digests[name] = self.outputs(name)
                assert self.digests[name]
        for query in (f"tags.`{names.STEP}` = '{step}'", *([f"tags.`{names.TRIAL}` != ''"] * (step == "hpo"))):
            for run in self.client.search_runs([self.experiment], query, max_results=1000):
                self.client.delete_run(run.info.run_id)

    def said(self, failed: Result) -> str:
        """The one clear error that a step ended with."""
        assert isinstance(failed.exception, SystemExit), failed.exc_info
        assert failed.exit_code == 2 and "Traceback" not in failed.stderr, failed.stderr
        [said] = failed.stderr.split("Error: ")[1:]
        return said

    def is_as_ever(self, step: str, result: Result) -> None:
        assert result.exit_code == 0, (result.stderr, result.exc_info)
        assert self.outputs(step) == self.digests[step]

"""Which experiments are trusted: finished runs and trials are reused only from these.

On a server these are the experiment of this run and others that the user names. People who work together share an
experiment, and its owner decides who may write to it. Any other user of the server could create an experiment with
a faked finished run of any key. A local store is used by one user only, so all of its experiments are trusted.

With `signed` it does not matter where a run lies: only those are taken that a trusted key signed (provenance/signing).
"""

from __future__ import annotations

from urllib.parse import urlsplit

from mlflow import MlflowClient
from mlflow.tracking.fluent import _get_experiment_id

from provenance.reuse import cache
from provenance.store.paging import every

EXPERIMENT = "experiment"
ALL = "all"
SIGNED = "signed"


class TrustError(ValueError):
    """`trust` names an experiment that does not exist or that this user may not read."""


def is_own_store(tracking_uri: str) -> bool:
    """Whether the store is a local file or folder, and not a server or database server to which others write."""
    scheme = urlsplit(tracking_uri).scheme.split("+")[0]
    return scheme in ("file", "sqlite") or (scheme == "" and not tracking_uri.startswith("databricks"))


def experiments(client: MlflowClient, trust: str, working_in: str | None) -> list[str]:
    """The ids of the experiments whose finished runs and trials may be reused.

    trust: the parameter `trust`. working_in: the experiment of this run; None for the one in which a run would be made.

    Raises TrustError if `trust` names an experiment that does not exist.
    """
    words = [word.strip() for word in trust.split(",") if word.strip()]
    if ALL in words or words == [SIGNED] or (words == [EXPERIMENT] and is_own_store(client.tracking_uri)):
        return cache.experiments(client)
    here = working_in or _get_experiment_id()
    trusted = [here] if here else []
    for name in words:
        if name == EXPERIMENT:
            continue
        found = client.get_experiment_by_name(name)
        if found is None:
            there = ", ".join(sorted(experiment.name for experiment in every(client.search_experiments)))
            raise TrustError(f"trust={trust}: there is no experiment {name!r:.100} that you may read (there are: "
                             f"{there:.500})\n Give experiment, all, or names of experiments.")  # fmt: skip
        trusted.append(found.experiment_id)
    return list(dict.fromkeys(trusted))


def awaited(client: MlflowClient, trust: str, working_in: str | None) -> list[str]:
    """The ids of the experiments whose running runs are waited for. Of a running run nobody knows who will sign it."""
    return experiments(client, EXPERIMENT if trust == SIGNED else trust, working_in)

"""Whose runs are taken instead of one's own: on a server those of the experiment one works in, and of others by name.

People share by working in one experiment, to which its owner admits them. Everybody else who may make an experiment on
the server could leave there a finished run of any key. One's own local store holds nobody else's.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from mlflow import MlflowClient
from mlflow.tracking.fluent import _get_experiment_id

from provenance.reuse import cache
from provenance.store.paging import every

EXPERIMENT = "experiment"
ALL = "all"


class TrustError(ValueError):
    """`trust` that names an experiment which is not there."""


def is_own_store(tracking_uri: str) -> bool:
    """Whether the store is a file or folder: no server, nor a database server, that others write to."""
    scheme = urlsplit(tracking_uri).scheme.split("+")[0]
    return scheme in ("file", "sqlite") or (scheme == "" and not tracking_uri.startswith("databricks"))


def experiments(client: MlflowClient, trust: str, working_in: str | None) -> list[str]:
    """Ids of the experiments whose finished runs and trials are taken. Raises TrustError.

    working_in: the experiment of one's own run; None for the one that a run would be made in.
    """
    words = [word.strip() for word in trust.split(",") if word.strip()]
    if ALL in words or (words == [EXPERIMENT] and is_own_store(client.tracking_uri)):
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

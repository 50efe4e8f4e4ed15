"""The registry's versions, and which alias each holds."""

from __future__ import annotations

from dataclasses import dataclass

from mlflow import MlflowClient

from provenance.impact.recorded import stored
from provenance.record import names
from provenance.store.paging import every


@dataclass(frozen=True)
class Version:
    """A version of a registered model.

    source: URI of the logged model that it holds.
    run_id: the run that registered it, or "".
    search: the run of the search that it came from, or "".
    """

    uri: str
    source: str
    run_id: str
    search: str
    created: int  # milliseconds since the epoch
    aliases: tuple[str, ...] = ()

    @property
    def served(self) -> bool:
        """Whether it holds the alias that serving asks for."""
        return names.CHAMPION in self.aliases


def read_versions(client: MlflowClient) -> dict[str, Version]:
    """URI -> version, of all that this user can read."""
    aliases: dict[str, list[str]] = {}
    for model in every(client.search_registered_models):
        for alias, number in model.aliases.items():
            aliases.setdefault(f"models:/{model.name}/{number}", []).append(alias)
    found = {}
    for version in every(client.search_model_versions):
        uri = f"models:/{version.name}/{version.version}"
        found[uri] = Version(
            uri,
            stored(version.source or ""),
            version.tags.get(names.REGISTERED_BY) or version.run_id or "",
            version.tags.get(names.SEARCH_RUN, ""),
            version.creation_timestamp or 0,
            tuple(sorted(aliases.get(uri, ()))),
        )
    return found

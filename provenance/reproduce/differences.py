"""The differences between two records of one step, the most likely cause of another result first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from provenance.pipeline.declaration import ExternalInputs, Pipeline
from provenance.record import code
from provenance.record.difference import Category, Difference, DifferenceKind, changed_values
from provenance.record.environment import Environment, environment_differences
from provenance.record.lineage import Input, Lineage

# Packages that compute results. They are more likely causes than packages that talk to servers.
NUMERIC = ("numpy", "scipy", "scikit-learn", "xgboost", "hyperopt", "pandas", "pyarrow", "dask")


def find_differences(old: Lineage, new: Lineage, pipeline: Pipeline) -> tuple[Difference, ...]:
    """All differences between two records of one step that may change a result, the most likely cause first.

    Another location of external inputs is not a difference; another digest is.
    """
    found = [*_data(old, new, pipeline), *_code(old, new)]
    found += changed_values(DifferenceKind.PARAMETER, old.params, new.params)
    placed = [{name: text for name, text in one.placement.items() if name != pipeline.location} for one in (old, new)]
    found += changed_values(DifferenceKind.PLACEMENT, *placed)
    if old.environment and new.environment:
        before, after = Environment.from_dict(old.environment), Environment.from_dict(new.environment)
        found += environment_differences(before, after)
    return tuple(sorted(found, key=_rank))


def _code(old: Lineage, new: Lineage) -> list[Difference]:
    """The modules that differ. Those that are part of neither key have a kind of their own.

    A record of schema 1 does not say which modules its key covers, so there all modules count as covered.
    """
    found = code.changed(old.code, new.code)
    if not (old.engine and new.engine):
        return found
    covered = {*old.keyed, *new.keyed}
    beside = DifferenceKind.CODE_BESIDE_THE_KEY
    found = [one if one.subject in covered else replace(one, kind=beside) for one in found]
    if old.engine != new.engine:
        found.append(Difference(DifferenceKind.ENGINE, "engine", str(old.engine), str(new.engine)))
    return found


def _data(old: Lineage, new: Lineage, pipeline: Pipeline) -> list[Difference]:
    """The inputs whose digests differ. External inputs are left out if other parameters chose other files."""
    step = pipeline.by_name.get(new.step)
    external = step.external if step else None
    made = {need.param for need in step.needs} if step else set()
    before, after = ({item.role: item for item in record.inputs} for record in (old, new))
    found = []
    for role in sorted(before | after):
        was, now = before.get(role), after.get(role)
        if (was and was.digest) == (now and now.digest) or _unread(role, old, new):
            continue
        if external is None or role in made:
            found.append(_input(DifferenceKind.INPUT, role, was, now))
        elif not _chosen_otherwise(external, old.params, new.params, both=bool(was and now)):
            found.append(_input(DifferenceKind.EXTERNAL_INPUT, role, was, now, external.noun))
    return found


def _input(kind: DifferenceKind, role: str, was: Input | None, now: Input | None, noun: str = "") -> Difference:
    moved = noun and was and now and was.uri and now.uri and was.uri != now.uri
    places = (was.uri, now.uri) if was and now and moved else None
    return Difference(kind, role, was.digest if was else None, now.digest if now else None, noun, places)


def _chosen_otherwise(external: ExternalInputs, old: Mapping[str, str], new: Mapping[str, str], *, both: bool) -> bool:
    """Whether changed parameters explain that an external input differs.

    If only one record has the input, any changed parameter that selects inputs explains it. If both records have it
    (`both`), only a parameter that does not change the set of roles does: such a parameter selects the file of a role.
    """
    changed = [name for name in external.selected_by if old.get(name) != new.get(name)]
    if not both:
        return bool(changed)
    return any(name in new and _same_roles(external, old, {**old, name: new[name]}) for name in changed)


def _same_roles(external: ExternalInputs, old: Mapping[str, str], new: Mapping[str, str]) -> bool:
    try:
        return external.roles(old) == external.roles(new)
    except (KeyError, ValueError):  # a record lacks a parameter, or the parameters contradict each other
        return False


def _unread(role: str, old: Lineage, new: Lineage) -> bool:
    """Whether a generated input has the same recipe in both records and one run ended before it read the input."""
    recipe = old.key_inputs.get(role)
    digests = [item.digest for record in (old, new) for item in record.inputs if item.role == role]
    return recipe is not None and recipe == new.key_inputs.get(role) and recipe in digests


def _rank(difference: Difference) -> tuple[int, int]:
    numeric = difference.category is Category.PACKAGES and difference.subject in NUMERIC
    return difference.category.rank, NUMERIC.index(difference.subject) if numeric else len(NUMERIC)

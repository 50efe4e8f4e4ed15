"""Raw months of recorded runs: whether they can be had, and are the recorded ones."""

from __future__ import annotations

from provenance.pipeline.session import Session
from provenance.reproduce.differences import MONTH
from provenance.reproduce.recorded_run import RecordedRun
from provenance.reproduce.reproduce import RECORDED, ReplayOptions, ReproductionError, recorded_source
from taxi.months.month import TAXIS
from taxi.sources.locate import known_digests, sample_rows


def check_months(session: Session, original: RecordedRun, options: ReplayOptions) -> None:
    """Say before anything runs which raw months cannot be had, or are not the recorded ones."""
    months = original.months
    if not months:
        return
    source = recorded_source(original, options.own) if options.source == RECORDED else options.source
    taxi = original.lineage.params.get("taxi")
    if taxi not in TAXIS or not all(MONTH.fullmatch(item.role) for item in months):
        raise ReproductionError(f"run {original.run_id} read {taxi!a:.40} trips of {months[0].role!a:.40}, "
                                "says its record, which was altered\n Do not use the run.")  # fmt: skip
    wanted = {item.role: item.digest for item in months}
    try:
        found = known_digests(source, taxi, sorted(wanted), **session.fetch)
    except ValueError as error:
        first = str(error).splitlines()[0]
        raise ReproductionError(
            f"{first}\n Say where the raw months are on this machine: -P source=FOLDER (or sample, tlc, a URI prefix)"
        ) from error
    if sample_rows(source) is not None:
        return  # made here, and digested when it is read
    for month in sorted(wanted):
        if found.get(month) != wanted[month]:
            session.say(f"month {month} of {source} is not the recorded one: sha256 {str(found.get(month))[:12]}, "
                        f"recorded {wanted[month][:12]}")  # fmt: skip

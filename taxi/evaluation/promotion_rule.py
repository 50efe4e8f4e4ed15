"""The promotion rule: decide from the figures of two models whether a candidate replaces the champion, and why."""

from dataclasses import dataclass

from taxi.evaluation.bootstrap import Gain
from taxi.models.intervals import LEVEL


@dataclass(frozen=True)
class Thresholds:
    """The conditions that each champion must meet, independent of the champion before it.

    MLflow's validate_evaluation_results compares numbers, too; it cannot say units, slices or why a bound is there.
    """

    # Candidates that are no better pass once in twenty times; at 0.99 half of the real gains of 1 % would be refused.
    confidence: float = 0.95
    # RMSE as a share of that of predicting the mean duration for every trip; above it next to nothing was learned. On
    # real months linear regression on what is known at pickup has 0.66, boosting on all features 0.43.
    rmse_share: float = 0.8
    # RMSE of the worst slice against that of all trips: one part of the city, or of the night, may not pay for the
    # rest. Ours have up to 1.5 (zones with few trips) and 1.6 (four in the morning) on real months.
    zones_ratio: float = 1.75
    hour_ratio: float = 1.75
    # Of the promised share of trips inside their interval; months differ by a hundredth among themselves.
    coverage_off: float = 0.03
    # Milliseconds of one prediction, features included, below what a person notices. Ours take 1 to 8.
    latency_ms: float = 100.0
    # Megabytes of features and estimator, to fit beside Python and MLflow into half a gigabyte. Ours have up to 28.
    model_mb: float = 250.0

    def failures(self, figures: "Figures") -> tuple[str, ...]:
        """Each threshold that does not hold, in words. What is not a number holds none."""
        rmse = figures.rmse
        checks = (
            (rmse, self.rmse_share * figures.spread, "RMSE {:.2f} min is above {:.2f}, {share:.0%} of the durations' "
             "own spread"),
            (figures.zones_rmse, self.zones_ratio * rmse, "pickups in {zones}: RMSE {:.2f} min is above {:.2f}, "
             "{zones_ratio:g} times that of all trips"),
            (figures.hour_rmse, self.hour_ratio * rmse, "pickups at {hour}: RMSE {:.2f} min is above {:.2f}, "
             "{hour_ratio:g} times that of all trips"),
            (abs(figures.coverage - LEVEL), self.coverage_off, "{coverage:.1%} of the trips are inside their interval, "
             "more than {1:.0%} off the promised {level:.0%}"),
            (figures.latency_ms, self.latency_ms, "one prediction takes {:.1f} ms, above {:.0f}"),
            (figures.model_mb, self.model_mb, "the model has {:.0f} MB, above {:.0f}"),
        )  # fmt: skip
        words = {
            "share": self.rmse_share,
            "zones": figures.zones,
            "zones_ratio": self.zones_ratio,
            "hour": figures.hour,
            "hour_ratio": self.hour_ratio,
            "coverage": figures.coverage,
            "level": LEVEL,
        }
        return tuple(text.format(value, bound, **words) for value, bound, text in checks if not value <= bound)


@dataclass(frozen=True)
class Figures:
    """What the gate looks at, of one model on the test months. Minutes unless the name says otherwise.

    spread: standard deviation of the durations. zones, hour: names of the worst slices. coverage: a share.
    """

    rmse: float
    spread: float
    zones: str
    zones_rmse: float
    hour: str
    hour_rmse: float
    coverage: float
    latency_ms: float
    model_mb: float


@dataclass(frozen=True)
class Decision:
    """Whether a candidate becomes champion, why in one sentence, and the thresholds that do not hold."""

    promote: bool
    reason: str
    failed: tuple[str, ...] = ()

    @property
    def word(self) -> str:
        """``champion`` or ``candidate``."""
        return "champion" if self.promote else "candidate"


def first(failed: tuple[str, ...], because: str = "there was no champion yet") -> Decision:
    """Where there is no champion to fall back on, anything is better than nothing.

    The model becomes champion whatever it fails, and what it fails is said.
    """
    return Decision(True, f"{because}{_and(failed)}", failed)


def decide(failed: tuple[str, ...], against: str | None, gain: Gain | None) -> Decision:
    """`against` names the champion, None when there is none; `gain` over it, None when it can no longer be judged."""
    if against is None:
        return first(failed)
    if gain is None:
        holds = _and(failed) or "; this one holds every threshold"
        return Decision(
            not failed, f"{against} cannot be loaded by this code, so they were not compared{holds}", failed
        )
    known = f"({gain.confidence:.0%} lower bound {gain.low:+.4f}, bootstrap over {gain.days} days)"
    if gain.gain <= 0:
        return Decision(False, f"not better than {against}: RMSE {abs(gain.gain):.4f} min higher{_and(failed)}", failed)
    if not gain.low > 0:
        may_be = f"RMSE {gain.gain:.4f} min lower than {against}'s, which may be luck {known}"
        return Decision(False, f"{may_be}{_and(failed)}", failed)
    better = f"RMSE {gain.gain:.4f} min lower than {against}'s {known}"
    if failed:
        return Decision(False, f"{better}, but {'; '.join(failed)}", failed)
    return Decision(True, better)


def _and(failed: tuple[str, ...]) -> str:
    return f"; it fails: {'; '.join(failed)}" if failed else ""

"""How often the gate is right: candidates of known worth, on simulated months, through the decision that register uses.

    python benchmarks/gate.py [--seeds 1000]

Errors of 10,000 trips on 31 days, some days bad for everybody; see contenders.py. The first twenty seeds are
those of the test suite.
"""

import argparse
import platform
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from taxi.evaluation.bootstrap import paired_gain
from taxi.evaluation.promotion_rule import Thresholds, decide
from tests.support.simulated_errors import CANDIDATES, lucky_month, month

ROWS = (
    ("worse", "worse", month),
    ("a little worse, but lucky", "a little worse", lucky_month),
    ("equal", "equal", month),
    ("equal, but lucky", "equal", lucky_month),
    ("better", "better", month),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000)
    seeds = parser.parse_args().seeds
    confidence = Thresholds().confidence
    print(f"Python {platform.python_version()}, numpy {np.__version__}, confidence {confidence:.0%}")
    print(f"{'candidate':28}{'true RMSE':>10}{'promoted, 20 seeds':>20}{f'{seeds} seeds':>12}")
    for name, kind, draw in ROWS:
        promoted = [promotes(*draw(seed, CANDIDATES[kind]), confidence) for seed in range(seeds)]
        truth = np.mean([worth(*month(10**6 + seed, CANDIDATES[kind])) for seed in range(200)])
        print(f"{name:28}{truth:>+10.2%}{f'{sum(promoted[:20])} of 20':>20}{np.mean(promoted):>12.1%}", flush=True)


def promotes(day, champion, candidate, confidence: float) -> bool:
    return decide((), "the champion", paired_gain(day, champion, candidate, confidence)).promote


def worth(day, champion, candidate) -> float:
    """RMSE of the candidate against the champion's."""
    return float((candidate.mean() / champion.mean()) ** 0.5 - 1)


if __name__ == "__main__":
    main()

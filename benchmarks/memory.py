"""Peak memory of `preprocess` against the number of months.

    python benchmarks/memory.py [--rows 200000] [--months 3 12]

The step as `python -m steps.preprocess` starts it, on months of the sample that lie on the disk; the peak is of the
step's process and any it starts. The published row is --rows 3000000: under 1.5 GB, and 12 months within 20 % of 3.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from bench import LAUNCHER, ROOT, machine, ran

sys.path.insert(0, str(ROOT))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--months", type=int, nargs="+", default=[3, 12], help="how many: 3 at least, 12 at most")
    parser.add_argument("--folder", type=Path, help="keeps the months here, for another time")
    given = parser.parse_args()

    print(machine("pyarrow", "mlflow"), flush=True)
    with tempfile.TemporaryDirectory(prefix="memory-") as scratch:
        source = months(given.folder or Path(scratch, "months"), max(given.months), given.rows)
        peaks = []
        for count in given.months:
            here = Path(tempfile.mkdtemp(dir=scratch))
            done = ran(
                [LAUNCHER, "run", ROOT, "-e", "preprocess", "--env-manager", "local", "-P", f"source={source}",
                 "-P", f"train_months=2022-01:2022-{count - 2:02}", "-P", f"val_months=2022-{count - 1:02}",
                 "-P", f"test_months=2022-{count:02}"],
                here, look="steps.preprocess",
            )  # fmt: skip
            peaks.append(done.peak)
            print(f"{count:3} months of {given.rows:,} rows: peak {done.peak / 1e9:.3f} GB, {done.seconds:.1f} s")
    print(
        f"largest / smallest {max(peaks) / min(peaks):.2f}  (bar: 1.2), largest {max(peaks) / 1e9:.3f} GB  (bar: 1.5)"
    )


def months(folder: Path, count: int, rows: int) -> Path:
    """The first `count` months of 2022, made where they are not there yet."""
    from taxi.city.sample import write_month
    from taxi.months.month import file_name

    folder.mkdir(parents=True, exist_ok=True)
    for number in range(1, count + 1):
        name = f"2022-{number:02}"
        if not (folder / file_name("green", name)).exists():
            write_month(folder / file_name("green", name), "green", name, rows)
    return folder


if __name__ == "__main__":
    main()

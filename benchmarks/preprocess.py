"""Preprocess against the physical limit, and against the course's way of doing it.

    python benchmarks/preprocess.py [--source ../shared/tlc | sample:1000000] [--runs 5] [--no-course]

Three months, in turn: a bare pyarrow scan that only decodes the five columns we use; our whole build of a dataset
(decode, filter, learn the features, check them for leaks, write and hash); the same and the digests of the raw months;
the contender's `prepare` (benchmarks/course) in a process of its own, without its imports. Bars: a third of the scan's
rows a second, and 20 times the contender's.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from bench import PYTHON, ROOT, TLC, machine, medians, ran

sys.path.insert(0, str(ROOT))
NAMES = ("2023-01", "2023-02", "2023-03")
# The contender's own work alone: its imports are not what is compared.
COURSE = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import pandas, pyarrow.parquet
from sklearn.feature_extraction import DictVectorizer
from contender import prepare_months
began = time.perf_counter()
prepare_months(Path(sys.argv[2]), Path(sys.argv[3]))
print(time.perf_counter() - began)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", default=str(TLC))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--no-course", action="store_true")
    given = parser.parse_args()

    import pyarrow.parquet as pq

    from taxi.dataset.builder import build
    from taxi.features.fitting import FEATURE_SETS
    from taxi.months.trips import BATCH_ROWS, raw_names
    from taxi.sources.locate import locate, sha256_file

    print(machine("pyarrow", "pandas", "scikit-learn"), flush=True)
    with tempfile.TemporaryDirectory(prefix="preprocess-") as folder:
        place = Path(folder)
        source = given.source
        if not source.startswith("sample") and not Path(source).is_dir():
            source = "sample:100000"
            print(f"no real months: {source} stands in")
        months = locate(source, "green", NAMES, scratch=place)
        rows = sum(pq.read_metadata(month.path).num_rows for month in months)
        splits = {split: [month] for split, month in zip(("train", "val", "test"), months, strict=True)}
        digests: set[str] = set()

        def scan() -> float:
            began = time.perf_counter()
            for month in months:
                with pq.ParquetFile(month.path) as file:
                    for _ in file.iter_batches(BATCH_ROWS, columns=raw_names("green"), use_threads=False):
                        pass
            return time.perf_counter() - began

        def ours(hashed: bool = False) -> float:
            with tempfile.TemporaryDirectory(dir=place) as out:
                began = time.perf_counter()
                if hashed:
                    assert [sha256_file(month.path) for month in months] == [month.digest for month in months]
                digests.add(str(build(splits, FEATURE_SETS["full"], Path(out)).record["files"]))
                return time.perf_counter() - began

        def course() -> float:
            with tempfile.TemporaryDirectory(dir=place) as out:
                scripts, raw = ROOT / "benchmarks" / "course", months[0].path.parent
                return float(ran([PYTHON, "-c", COURSE, scripts, raw, out], place).stdout)

        contenders = {"bare scan": scan, "ours": ours, "ours, raw months hashed": lambda: ours(hashed=True)}
        scan(), ours()  # files in the page cache, code imported
        middle = medians(contenders, given.runs)
        if not given.no_course:
            middle |= medians({"course's prepare": course}, min(3, given.runs))
    assert len(digests) == 1
    print(f"{rows:,} raw rows of {source}, medians of {given.runs}:")
    for name, seconds in middle.items():
        print(f"  {name:<24} {seconds:7.3f} s  {rows / seconds / 1e6:8.3f} M rows/s")
    print(
        f"  ours / bare scan, rows a second         {middle['bare scan'] / middle['ours']:6.2f}  (bar: at least 0.33)"
    )
    if not given.no_course:
        faster = middle["course's prepare"] / middle["ours"]
        print(f"  ours / course's prepare,rows a second   {faster:6.1f}  (bar: at least 20)")


if __name__ == "__main__":
    main()

"""What a change moves, as Markdown: expected.json of another commit against that of this checkout. Runs no step.

`PYTHONPATH=. python .ci/moved.py COMMIT`
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from provenance.reproduce import expected
from provenance.reproduce.report import markdown
from provenance.reproduce.verdict import Verdict, judge
from steps.pipeline import PIPELINE


def moved(commit: str, root: Path) -> str:
    """The report; one sentence where the other commit has no expected.json that this code can read."""
    shown = subprocess.run(["git", "show", f"{commit}:./{expected.FILE}"], cwd=root, capture_output=True, check=False)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, expected.FILE).write_bytes(shown.stdout)
        try:
            before, after = expected.read(Path(folder)), expected.read(root)
        except expected.ExpectedError:
            return f"# What this change moves\n\n{commit} has no expected.json to compare with.\n"
    both = [step for step in before if step in after]
    verdict = Verdict(tuple(judge(before[step], after[step], PIPELINE) for step in both))
    only_one = ", ".join(sorted(before.keys() ^ after.keys())) or "none"
    return markdown(verdict, "What this change moves", {"against": commit, "steps of one only": only_one})


if __name__ == "__main__":
    print(moved(sys.argv[1], Path.cwd()))

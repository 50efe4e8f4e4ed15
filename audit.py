"""What the locks bring: known vulnerabilities (pip-audit, by network) and every package's licence. Run by `make audit`.

Exit 1 for a vulnerability, or a licence that is missing or would bind who uses this project (GPL, AGPL).
"""

import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
LOCKS = ("requirements.lock", "requirements-dev.lock", "docs/team/requirements.lock")
TOLD_ELSEWHERE = {"huey": "MIT"}  # its LICENSE file; its metadata says nothing
BINDING = re.compile(r"(?<!L)(A?GPL|GNU (Affero )?General Public)", re.IGNORECASE)  # not the LGPL


def main() -> None:
    found = {name: licence(name) for name in installed(ROOT / "requirements.lock")}
    for name, text in sorted(found.items(), key=lambda item: (item[1].lower(), item[0])):
        print(f"{text:45.45} {name}")
    bad = [f"{name}: {text}" for name, text in found.items() if text == "unknown" or BINDING.search(text)]
    if bad:
        print("look at these licences:", *bad, sep="\n  ", file=sys.stderr)
    audits = [audit(ROOT / lock) for lock in LOCKS]
    sys.exit(1 if bad or any(audits) else 0)


def installed(lock: Path) -> list[str]:
    """The lock's packages that are installed here: others are for other platforms."""
    names = re.findall(r"(?m)^([A-Za-z0-9._-]+)==", lock.read_text())
    here = {re.sub(r"[-_.]+", "-", one.metadata["Name"]).lower() for one in importlib.metadata.distributions()}
    return [name for name in names if re.sub(r"[-_.]+", "-", name).lower() in here]


def licence(name: str) -> str:
    """As the package itself says: its SPDX expression, else its classifiers, else the first line of its text."""
    facts = importlib.metadata.metadata(name)
    classified = [text.rpartition(" :: ")[2] for text in facts.get_all("Classifier", []) if text.startswith("License")]
    first = (facts.get("License") or "").strip().splitlines()
    return (
        facts.get("License-Expression")
        or " and ".join(classified)
        or (first[0] if first else TOLD_ELSEWHERE.get(name, "unknown"))
    )


def audit(lock: Path) -> int:
    """pip-audit's exit code: 1 for a version with a known vulnerability, or one that could not be looked up."""
    print(f"== {lock.relative_to(ROOT)}", flush=True)
    command = [sys.executable, "-m", "pip_audit", "--disable-pip", "--require-hashes", "--strict", "-r", str(lock)]
    return subprocess.run([*command, "--progress-spinner", "off"], cwd=ROOT).returncode


if __name__ == "__main__":
    main()

"""Renew the locks: conda.yaml's "#:" lines -> requirements.lock, pyproject.toml's group -> requirements-dev.lock.

Run by `make lock`. Writes the digest of requirements.lock into conda.yaml, whose text names the conda environment.
"""

import hashlib
import re
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent
COMPILE = ["uv", "pip", "compile", "--quiet", "--universal", "--python-version", "3.11", "--generate-hashes",
           "--no-emit-index-url", "--no-header"]  # fmt: skip


def main() -> None:
    conda = ROOT / "conda.yaml"
    direct = re.findall(r"^ *#: (\S+)$", conda.read_text(), flags=re.MULTILINE)
    lock = ROOT / "requirements.lock"
    with tempfile.TemporaryDirectory() as folder:
        requirements = Path(folder, "requirements.in")
        requirements.write_text("\n".join(direct) + "\n")
        subprocess.run([*COMPILE, "--no-annotate", "-o", lock, requirements], check=True, cwd=ROOT)
    # Without this line in the file itself uv installs an unhashed line silently.
    lock.write_text("--require-hashes\n" + lock.read_text().removeprefix("--require-hashes\n"))
    server = ROOT / "docs" / "team" / "requirements.lock"
    for group, out, beside in (
        ("dev", ROOT / "requirements-dev.lock", ["-c", lock]),
        ("server", server, []),  # alone on its machine: what clients have does not bind it
        ("bucket", ROOT / "tests" / "bucket.lock", ["-c", server]),
    ):
        subprocess.run([*COMPILE, "--no-annotate", *beside, "--group", group, "-o", out], check=True, cwd=ROOT)
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()
    conda.write_text(re.sub(r"(?m)^# requirements.lock sha256: .*$", f"# requirements.lock sha256: {digest}",
                            conda.read_text()))  # fmt: skip


if __name__ == "__main__":
    main()

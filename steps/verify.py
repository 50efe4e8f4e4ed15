"""verify: run `main` on the embedded default without the cache and compare with expected.json; exit 1 below `require`.

`write=true` makes expected.json instead: what this commit gives from now on.
"""

if __name__ == "__main__":
    from provenance.bootstrap.start import start_step

    start_step()

from provenance.commands.verify import verify_command
from steps.pipeline import PIPELINE

verify = verify_command(PIPELINE)

if __name__ == "__main__":
    verify()

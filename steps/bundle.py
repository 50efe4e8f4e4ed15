"""bundle: one file from which a run can be reproduced without the server."""

if __name__ == "__main__":
    from provenance.bootstrap.start import start_step

    start_step()

from provenance.commands.bundle import bundle_command
from steps.options import options
from steps.pipeline import PIPELINE

bundle = bundle_command(PIPELINE, options("source", source="recorded"))

if __name__ == "__main__":
    bundle()

"""reproduce: re-execute a recorded run, compare every output and metric, and grade; exit 1 below `require`."""

if __name__ == "__main__":
    from provenance.bootstrap.start import start_step

    start_step()

from provenance.commands.reproduce import reproduce_command
from steps.options import options
from steps.pipeline import PIPELINE

reproduce = reproduce_command(PIPELINE, options("source", source="recorded"))

if __name__ == "__main__":
    reproduce()

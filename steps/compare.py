"""compare: why two runs differ, the likeliest cause first; prove=true runs one with each difference in turn."""

if __name__ == "__main__":
    from provenance.bootstrap.start import start_step

    start_step()

from provenance.commands.compare import compare_command
from steps.options import options
from steps.pipeline import PIPELINE

compare = compare_command(PIPELINE, options("source", source="recorded"))

if __name__ == "__main__":
    compare()

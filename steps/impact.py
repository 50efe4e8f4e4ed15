"""impact: what came of a month, a file, a run, a model, a commit or a package, and what of it is served."""

if __name__ == "__main__":
    from provenance.bootstrap.start import start_step

    start_step()

from provenance.commands.impact import impact_command
from steps.pipeline import PIPELINE

impact = impact_command(PIPELINE)

if __name__ == "__main__":
    impact()

"""plan: which steps `main` would reuse and which it would run, and why; runs nothing, leaves no run."""

if __name__ == "__main__":
    from provenance.bootstrap.start import start_step

    start_step()

from provenance.commands.plan import plan_command
from steps.main import CHAIN, prepared
from steps.options import options
from steps.pipeline import PIPELINE

plan = plan_command(PIPELINE, options(*CHAIN), prepared)

if __name__ == "__main__":
    plan()

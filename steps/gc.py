"""gc: list, and with delete=true delete, the runs and artifacts that nothing needs; dry by default."""

if __name__ == "__main__":
    from provenance.bootstrap.start import start_step

    start_step()

from provenance.commands.gc import gc_command
from steps.pipeline import PIPELINE

gc = gc_command(PIPELINE)

if __name__ == "__main__":
    gc()

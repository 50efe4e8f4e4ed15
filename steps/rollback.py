"""rollback: give the champion alias of a registered model back to its last holder; print who was champion when."""

if __name__ == "__main__":
    from provenance.bootstrap.start import start_step

    start_step()

from provenance.commands.rollback import rollback_command
from steps.options import options
from steps.pipeline import PIPELINE

rollback = rollback_command(PIPELINE, options("model_name"))

if __name__ == "__main__":
    rollback()

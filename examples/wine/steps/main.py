"""The program of every entry point: `python -m steps.main train --C 1`."""

if __name__ == "__main__":
    from provenance.bootstrap.start import start_step

    start_step()

from provenance.commands.project import project_commands
from provenance.pipeline.options import ABOVE_ZERO, option
from steps import hpo, preprocess, register, train
from steps.pipeline import PIPELINE

OWN = {"C": option("C", 1.0, ABOVE_ZERO, "Inverse strength of regularisation.")}

if __name__ == "__main__":
    project_commands(PIPELINE, [preprocess.preprocess, train.train, hpo.hpo, register.register], OWN)()

"""register: an hpo run -> the chosen candidate, judged on test, fitted again, as a version that meets the gate."""

if __name__ == "__main__":
    from provenance.bootstrap.start import start_step

    start_step()

from dataclasses import replace

import click

from provenance.pipeline.cli import checked
from provenance.pipeline.step_run import StepRun, run_step
from provenance.record import names
from steps.options import DATA, RUN, TRIALS, StepCommand, options, xgboost_alone


@click.command(cls=StepCommand)
@options("search", "select", "refit", "model_name", "model", *TRIALS, *DATA, *RUN)
@checked(early=xgboost_alone)
def register(**params) -> None:
    """Choose among the best trials of an hpo run, judge on test, fit again, register; champion if the gate opens."""
    from steps.pages import results
    from steps.pipeline import PIPELINE, REGISTER

    run_step(PIPELINE, REGISTER, params, work, report, about=results.register)


def work(step: StepRun) -> None:
    from steps.models.registration import decide, enter, log, prepare
    from steps.models.serving import Served
    from steps.pages.model_page import log_model_plots

    served = step.folders.enter_context(Served())  # it imports what it needs while this process works
    made = prepare(step)
    facts, output = log(step, made)
    served.ask(step.folder(output), made.example)
    log_model_plots(step.client, step.run_id, made.predictor, made.registered, made.dataset, made.on.made_up)
    served.check(made.predictor.answer(made.example))
    if step.lineage.environment.get("differences"):
        step.say("the model answered in a process of its own; its packages were not quite those of the lock")
    version, output = enter(step, made, output, facts)
    decide(step, made, version, output)
    step.keep(replace(output, name=names.VERSION, uri=f"models:/{version.name}/{version.version}"))


def report(session, hit) -> list[str]:
    from provenance.registry.aliases import version_of

    name, version = version_of(hit)
    aliases = ", ".join(sorted(session.client.get_model_version(name, version).aliases))
    scores = hit.metrics
    return [
        f"test_rmse {scores['test_rmse']:.4f} min  as registered {scores['registered_test_rmse']:.4f} min",
        f"{name} version {version} ({aliases})",
    ]


if __name__ == "__main__":
    register()

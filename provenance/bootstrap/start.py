"""The first call of every step that is started as a program: `python -m steps.train`."""

import os

from provenance.bootstrap.project import ROOT
from provenance.bootstrap.shadowing import refuse_shadows


def start_step() -> None:
    """Return when this process may import the rest of the step, from its source and in a whole environment.

    Exits with what, where, what next where it may not. Each import stands behind what has to be seen to before it.
    """
    refuse_shadows(ROOT)
    from provenance.bootstrap.platform_check import check_packages, check_platform

    check_platform()
    from provenance.bootstrap.source_imports import import_from_source

    import_from_source()
    from provenance.bootstrap.environment_check import ensure_environment
    from provenance.bootstrap.first_use_lock import lock_first_use, no_usage_data
    from provenance.bootstrap.installed_files import look_early

    ensure_environment()
    check_packages()
    no_usage_data()
    lock_first_use()  # a step may start other steps
    collect_rarely()
    if "MLFLOW_RUN_ID" in os.environ:  # a step of `mlflow run`, which will ask
        look_early()


def collect_rarely() -> None:
    """Look for garbage seldom, and not at the interpreter's end.

    Nearly all that a step makes is in use until its end, MLflow's hundreds of thousands of objects above all: a look at
    all of them takes a tenth of a second and frees nothing.
    """
    import atexit
    import gc

    gc.set_threshold(50_000)  # new objects, in place of 700
    atexit.register(gc.freeze)

"""Doors: one module per entry point of MLproject. Whichever is opened first sees that its environment is whole."""

import os

from tracking.shadowing import refuse_shadows

refuse_shadows(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # before anything else is imported

from steps.environment_check import check_packages, check_platform  # noqa: E402

check_platform()  # the rest lacks something elsewhere

import atexit  # noqa: E402
import gc  # noqa: E402

from tracking.source_imports import import_from_source  # noqa: E402

import_from_source()

from steps.built import ensure  # noqa: E402
from tracking.installed_files import look_early  # noqa: E402
from tracking.once import no_usage_data, one_at_a_time  # noqa: E402

atexit.register(gc.freeze)  # the interpreter's end looks for garbage among all that was imported: a second

no_usage_data()
one_at_a_time()  # a door may start other doors
ensure()
check_packages()
if "MLFLOW_RUN_ID" in os.environ:  # a step, which will ask
    look_early()

"""Doors: one module per entry point of MLproject. Whichever is opened first sees that its environment is whole."""

import os

from provenance.bootstrap.shadowing import refuse_shadows

refuse_shadows(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # before anything else is imported

from provenance.bootstrap.platform_check import check_packages, check_platform  # noqa: E402

check_platform()  # the rest lacks something elsewhere

import atexit  # noqa: E402
import gc  # noqa: E402

from provenance.bootstrap.source_imports import import_from_source  # noqa: E402

import_from_source()

from provenance.bootstrap.environment_check import ensure_environment  # noqa: E402
from provenance.bootstrap.first_use_lock import lock_first_use, no_usage_data  # noqa: E402
from provenance.bootstrap.installed_files import look_early  # noqa: E402

atexit.register(gc.freeze)  # the interpreter's end looks for garbage among all that was imported: a second

no_usage_data()
lock_first_use()  # a door may start other doors
ensure_environment()
check_packages()
if "MLFLOW_RUN_ID" in os.environ:  # a step, which will ask
    look_early()

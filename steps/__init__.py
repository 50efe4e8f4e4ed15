"""Doors: one module per entry point of MLproject. Whichever is opened first sees that its environment is whole."""

import atexit
import gc

from steps.environment_check import check_packages, check_platform

check_platform()

from steps.built import ensure  # noqa: E402  they lack something on another platform
from tracking.once import no_usage_data, one_at_a_time  # noqa: E402

atexit.register(gc.freeze)  # the interpreter's end looks for garbage among all that was imported: a second

no_usage_data()
one_at_a_time()  # a door may start other doors
ensure()
check_packages()

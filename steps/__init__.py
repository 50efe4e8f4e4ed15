"""Doors: one module per entry point of MLproject. Whichever is opened first sees that its environment is whole."""

import atexit
import gc

from steps.built import ensure
from tracking.once import one_at_a_time

atexit.register(gc.freeze)  # the interpreter's end looks for garbage among all that was imported: a second

one_at_a_time()  # a door may start other doors
ensure()

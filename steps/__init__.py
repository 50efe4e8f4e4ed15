"""Doors: one module per entry point of MLproject. Whichever is opened first sees that its environment is whole."""

import atexit
import gc

from steps.built import ensure
from tracking.once import one_at_a_time

# MLflow's imports make objects by the hundred thousand, and all of them stay: not to look through them for garbage
# saves a third of a second of a step's beginning and a second of its end.
gc.set_threshold(100_000, 20, 100)
atexit.register(gc.freeze)

one_at_a_time()  # a door may start other doors
ensure()

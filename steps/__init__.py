"""Doors: one module per entry point of MLproject. Whichever is opened first sees that its environment is whole."""

from steps.built import ensure
from tracking.once import one_at_a_time

one_at_a_time()  # a door may start other doors
ensure()

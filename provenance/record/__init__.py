"""The record of a run: its code, environment, inputs and outputs, and the names of tags."""

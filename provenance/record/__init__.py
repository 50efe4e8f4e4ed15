"""What is recorded of a run: code, environment, inputs, outputs, and the names of tags."""

"""Run one step as an MLflow run: its command line, its session and the steps that it starts."""

"""One step as an MLflow run: its command line, its session, the steps it starts."""

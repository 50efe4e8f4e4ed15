"""What this project says to and asks of MLflow: lineage, cache, chain, registry. Importing it costs nothing heavy."""

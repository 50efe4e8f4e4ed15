"""Before anything is imported: a complete environment, and locks around MLflow's first uses."""

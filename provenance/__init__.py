"""What a run was made of: records, reuse, reproduction, registry, for MLflow Projects. Importing it costs nothing."""

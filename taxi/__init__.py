"""How long a taxi trip takes: months, trips, features, datasets, models. Knows nothing of MLflow or command lines."""

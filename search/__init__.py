"""Hyperparameter search: TPE with a fixed lag, trials, where they run. Knows runtime alone."""

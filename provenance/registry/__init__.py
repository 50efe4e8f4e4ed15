"""Registered models: aliases and the history of promotions."""

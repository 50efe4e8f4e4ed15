"""Finished runs that stand for new ones, and runs that compute the same at once."""

"""Repeat recorded runs and compare the results."""

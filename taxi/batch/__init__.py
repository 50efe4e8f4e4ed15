"""Predictions for files of trips."""

"""Months, datasets and fits on a Dask cluster."""

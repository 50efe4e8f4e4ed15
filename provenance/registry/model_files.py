"""Which files of a logged model differ whenever it is made again."""

from __future__ import annotations

# What of a model must be the same when it is made again; the rest carries ids, times and comments.
VOLATILE = (
    "MLmodel",
    "*.yaml",
    "*.txt",
    "*.json.gz",
    "*example.json",
    "code/*",
    "*.py",
    "*.pyc",
    "registered_model_meta",
)

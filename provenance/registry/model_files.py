"""Which files of a logged model differ each time it is made."""

from __future__ import annotations

# These files contain ids, times or comments. All other files must be the same when the model is made again.
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

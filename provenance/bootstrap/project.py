"""Where the project lies, and where its engine does: one folder, or the engine's is found by the path.

Needs `sys` and `os` alone: it is asked before anything else is imported.
"""

import os
import sys

ENGINE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # of provenance, search, runtime
_FOUND = [
    folder for folder in map(os.path.abspath, sys.path) if os.path.isfile(os.path.join(folder, "steps", "__init__.py"))
]
ROOT = [*_FOUND, ENGINE][0]  # of MLproject, conda.yaml, requirements.lock and `steps`

"""Importing this module has XGBoost import no scikit-learn: that takes three times as long as XGBoost itself.

XGBoost looks for scikit-learn to offer an interface that nothing here uses. This is for this project's own processes:
in one that others share, such as a notebook or a cluster's worker, XGBoost would lack that interface for them, too.
"""

import sys
from collections.abc import Sequence
from types import ModuleType

IMPORTLIB = ("importlib._bootstrap", "importlib._bootstrap_external", "_frozen_importlib")
ASKS = "xgboost.compat"  # the module of XGBoost that tries the import


class _NoSklearn:
    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> None:
        if name == "sklearn" and _importer() == ASKS:
            raise ModuleNotFoundError(f"{ASKS} does without it here", name=name)


def _importer() -> str:
    """The module that runs the import statement."""
    frame = sys._getframe(2)
    while frame.f_back and frame.f_globals.get("__name__") in (*IMPORTLIB, __name__):
        frame = frame.f_back
    return str(frame.f_globals.get("__name__"))


sys.meta_path.insert(0, _NoSklearn())

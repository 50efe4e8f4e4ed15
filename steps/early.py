"""Imports that a step needs at its end, made while its fit keeps another core busy."""

import contextlib
import importlib
import threading


def import_early(*modules: str) -> None:
    """Import `modules` in the background. What is wrong with one is told where it is needed."""
    threading.Thread(target=_import, args=[modules], daemon=True, name="imports").start()


def _import(modules: tuple[str, ...]) -> None:
    for name in modules:
        with contextlib.suppress(Exception):
            importlib.import_module(name)

"""Doors: one module per entry point of MLproject."""

"""Entry points that every project has: they examine runs, repeat them, and delete what is not needed.

Each `*_command` function makes the entry point for a declared pipeline.
"""

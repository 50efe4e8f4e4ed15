"""Signatures of records: who signs, whom this checkout trusts, what was signed."""

"""Months of TLC's trip records: their names, and which trips count."""

"""The machine: its errors, memory, cores, scratch folders, files, progress. Knows no other package."""

"""The machine: its errors, memory, cores, scratch folders, files and progress. It imports no other package of ours."""

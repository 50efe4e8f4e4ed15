"""The tracking store: paging, locations of artifacts, and which runs belong to this project."""

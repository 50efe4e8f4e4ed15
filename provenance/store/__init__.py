"""The tracking store: its pages, where artifacts lie, whose runs are ours."""

"""What people look at: pages, plots, model cards. Nothing here is an output: an edit changes no result."""

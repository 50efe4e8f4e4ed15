"""Entry points that every project has, made for a declared pipeline: they ask about runs, repeat them, clear up."""

"""What came of a file, a run, a model, a commit or a package: lineage followed forwards."""

"""Model families, and a fitted model as it is served."""

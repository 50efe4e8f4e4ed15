"""How good a model is: metrics, slices, drift, the promotion rule."""

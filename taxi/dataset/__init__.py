"""The dataset artifact: splits as Parquet, features, a manifest."""

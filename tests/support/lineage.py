"""A lineage record."""

from provenance.record.lineage import Input, Lineage

LINEAGE = Lineage(
    step="train",
    params={"model": "xgboost", "seed": "42"},
    placement={"workers": "2"},
    inputs=(Input("dataset", "runs:/1/dataset", "d1"),),
    code={"steps/train.py": "c1"},
    code_digest="c",
    environment={"differences": [], "python": "3.11.7"},
    environment_key="e",
    source={"commit": "a" * 40, "dirty": False},
).with_key()

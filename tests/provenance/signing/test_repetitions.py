"""A repetition runs the code of others: it does not learn where the user's key is, and signs nothing."""

import os
from types import SimpleNamespace

from provenance.reproduce import replay
from provenance.signing.signing_key import VARIABLE


def test_a_repeated_step_does_not_learn_where_the_key_is(monkeypatch, tmp_path):
    """Afterwards the user's own run has it again."""
    seen = []
    monkeypatch.setenv(VARIABLE, "/home/ada/key.pem")
    monkeypatch.setattr(replay, "started", lambda *given: (seen.append(os.environ.get(VARIABLE)), (None, "failed"))[1])
    assert replay.launch(SimpleNamespace(), tmp_path, "train", {}, "local").error == "failed"
    assert seen == [None] and os.environ[VARIABLE] == "/home/ada/key.pem"


def test_a_repetition_takes_what_is_not_signed(tmp_path):
    """Its inputs are repetitions, too, which nobody signs; the record itself was asked before."""
    parameters = "{trust: {type: string}, seed: {type: int}}"
    (tmp_path / "MLproject").write_text(f"entry_points: {{train: {{parameters: {parameters}}}}}\n")
    lineage = SimpleNamespace(step="train", params={})
    for logged, given in (("signed", "experiment"), ("all", "all"), ("a,b", "a,b")):
        original = SimpleNamespace(lineage=lineage, logged={"trust": logged, "seed": "42"})
        assert replay.parameters(tmp_path, original, {}) == {"trust": given, "seed": "42"}

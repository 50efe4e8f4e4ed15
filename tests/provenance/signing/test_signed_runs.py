"""Only what a trusted key signed is taken (trust=signed), whatever somebody wrote to the database and the bucket."""

import base64
import json
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from provenance.pipeline.session import NotSigned, RunError, Session
from provenance.record import names, run_tags
from provenance.record.artifacts import open_artifact
from provenance.record.writer import record_finish
from provenance.reproduce import bundle, bundle_writer, recorded_run
from provenance.reproduce.signers import require_signed, signers
from provenance.reuse import cache
from provenance.reuse.cache import Hit, Miss
from provenance.signing import envelope, signing_key
from provenance.signing.envelope import PAYLOAD_TYPE
from steps.pipeline import PIPELINE
from tests.support import repository
from tests.support.finished_runs import TRAIN, begin, finish, folder_of
from tests.support.signing_keys import keyid, private_key, trust


@dataclass
class Office:
    """A project in the folder `root`, in which ada signs and her key is trusted; a store to which others write."""

    client: object
    root: Path
    key: Path

    def session(self, run_id: str = "", trust: str = "signed") -> Session:
        run = self.client.get_run(run_id) if run_id else None
        return Session(replace(PIPELINE, root=self.root), self.client, run, quiet=True, trust=trust)

    def made(self, lineage=TRAIN, metrics=None) -> str:
        """A finished run of `lineage` by whoever has the key that LINEAGE_SIGNING_KEY names; its id."""
        run_id = begin(self.client, **{names.PROJECT: "trips of here:/trips"})
        for name, value in (metrics or {"val_rmse": 3.5}).items():
            self.client.log_metric(run_id, name, value)
        output = folder_of(self.client, run_id, "model", {"model.json": "trees"})
        record_finish(self.session(run_id), replace(lineage, outputs=(output,)))
        self.client.set_terminated(run_id)
        return run_id

    def file(self, run_id: str, name: str) -> Path:
        """An artifact in the bucket, to be changed there."""
        with open_artifact(f"runs:/{run_id}/{name}") as path:
            return path

    def envelope(self, run_id: str) -> dict:
        return json.loads(self.file(run_id, names.SIGNATURE_FILE).read_text())

    def statement(self, run_id: str) -> dict:
        return json.loads(base64.b64decode(self.envelope(run_id)["payload"]))

    def refused(self, run_id: str) -> str:
        """Why the run is not taken: the same by its key and by its id, in one line and a remedy."""
        found = self.session().find(TRAIN)
        assert isinstance(found, Miss)
        with pytest.raises(NotSigned) as caught:
            self.session().hit(run_id)
        what, remedy = str(caught.value).splitlines()
        assert remedy == " trust=signed takes only what a key of trusted_keys/ signed (docs/signing.md)."
        assert what in [str(reason) for reason in found.reasons]
        return what.removeprefix(f"run {run_id} is not taken: ")


@pytest.fixture
def office(client, tmp_path, monkeypatch):
    key = private_key(tmp_path, "ada")
    root = tmp_path / "project"
    trust(root, key, "ada")
    monkeypatch.setenv(signing_key.VARIABLE, str(key))
    return Office(client, root, key)


def test_a_signed_run_is_taken(office):
    """By its key and by its id."""
    run_id = office.made()
    found = office.session().find(TRAIN)
    assert isinstance(found, Hit) and found.run_id == run_id
    assert office.session().hit(run_id).lineage == found.lineage


def test_the_envelope_is_an_in_toto_statement_about_the_record_and_its_outputs(office):
    """As other tools read it: DSSE, Statement v1, SHA-256 of lineage.json's bytes."""
    import hashlib

    run_id = office.made()
    assert office.envelope(run_id)["payloadType"] == PAYLOAD_TYPE
    assert [one["keyid"] for one in office.envelope(run_id)["signatures"]] == [keyid(office.key)]
    statement, record = office.statement(run_id), office.file(run_id, names.LINEAGE_FILE).read_bytes()
    [output] = cache.read(run_id).outputs
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["subject"] == [
        {"name": "lineage.json", "digest": {"sha256": hashlib.sha256(record).hexdigest()}},
        {"name": "model", "digest": {"filesSha256": output.digest}},
    ]
    said = statement["predicate"]
    assert (said["run"], said["step"], said["project"]) == (run_id, "train", "trips of here:/trips")
    assert said["signedAt"].endswith("Z")


def test_the_page_of_a_run_names_the_signer(office):
    run_id = office.made()
    assert "signed by `ada`" in office.client.get_run(run_id).data.tags[names.NOTE]


def test_without_a_key_nothing_is_left_and_nothing_changes(office, monkeypatch):
    """No artifact, no tag, no line; the key of the record is the same."""
    signed = office.client.get_run(office.made())
    monkeypatch.delenv(signing_key.VARIABLE)
    unsigned = office.client.get_run(office.made())
    left = {file.path for file in office.client.list_artifacts(unsigned.info.run_id)}
    assert left == {names.LINEAGE_FILE, "model"}
    assert "signed" not in unsigned.data.tags[names.NOTE]
    assert unsigned.data.tags.keys() == signed.data.tags.keys()
    assert unsigned.data.tags[names.KEY] == signed.data.tags[names.KEY]
    assert office.session(trust="experiment").find(TRAIN).run_id == unsigned.info.run_id
    office.client.delete_run(signed.info.run_id)
    assert office.refused(unsigned.info.run_id) == "it is not signed"


def test_a_record_that_is_forged_as_a_whole_is_refused(office, client):
    """By one who may write everything: record, tags, outputs and metrics agree with each other, and once passed."""
    run_id = office.made()
    signature = office.file(run_id, names.SIGNATURE_FILE).read_bytes()
    client.log_metric(run_id, "val_rmse", 0.1)
    finish(client, run_id, TRAIN, folder_of(client, run_id, "model", {"model.json": "other trees"}))
    assert office.session(trust="experiment").hit(run_id).metrics["val_rmse"] == 0.1
    assert office.file(run_id, names.SIGNATURE_FILE).read_bytes() == signature
    assert office.refused(run_id).startswith("its signature is for metrics ")


def test_another_model_in_the_record_is_refused(office, client):
    run_id = office.made()
    finish(client, run_id, TRAIN, folder_of(client, run_id, "model", {"model.json": "other trees"}))
    assert office.refused(run_id) == "lineage.json or an output was altered after it was signed"


def test_another_model_behind_the_record_is_refused(office):
    """The record is as it was signed; the model's file is not what it says."""
    office.file(office.made(), "model/model.json").write_text("other")
    found = office.session().find(TRAIN)
    assert [str(reason).partition(":")[0] for reason in found.reasons] == ["output model"]
    assert "model.json altered" in str(found.reasons[0])


def test_a_signature_of_another_run_is_refused(office, client):
    """All of a signed run, its signature too, in a run of somebody else's."""
    ours = office.made()
    theirs = begin(client, **{names.PROJECT: "trips of here:/trips"})
    client.log_metric(theirs, "val_rmse", 3.5)
    for name in (names.LINEAGE_FILE, names.SIGNATURE_FILE):
        client.log_artifact(theirs, str(office.file(ours, name)))
    for name, value in client.get_run(ours).data.tags.items():
        client.set_tag(theirs, name, value)
    client.set_terminated(theirs)
    client.delete_run(ours)
    assert office.refused(theirs) == f"its signature is for run {ours}"


def test_a_run_that_says_to_be_of_another_project_is_refused(office, client):
    run_id = office.made()
    client.set_tag(run_id, names.PROJECT, "fork of there:/fork")
    assert office.refused(run_id) == "its signature is for project trips of here:/trips"


def test_a_link_to_a_signed_run_must_be_signed_as_well(office, client):
    """Whoever may write tags could let any run stand for the signed one."""
    made = office.made()
    run_id = begin(client, **{names.PROJECT: "trips of here:/trips", names.REUSED: made})
    client.log_text(run_id, cache.read(made).to_json(), names.LINEAGE_FILE)
    client.set_terminated(run_id)
    with pytest.raises(NotSigned, match="it is not signed"):
        office.session().hit(run_id)
    assert office.session(trust="experiment").hit(run_id).run_id == made


def test_a_key_that_nobody_trusts_is_refused(office, tmp_path, monkeypatch):
    eve = private_key(tmp_path, "eve")
    monkeypatch.setenv(signing_key.VARIABLE, str(eve))
    run_id = office.made()
    assert f"signed by `key {keyid(eve)[:12]}`" in office.client.get_run(run_id).data.tags[names.NOTE]
    assert office.refused(run_id) == f"signed with a key that is not in trusted_keys/ ({keyid(eve)[:12]})"


def test_a_signature_after_the_last_day_of_its_key_is_refused(office):
    trust(office.root, office.key, "ada", "until: 2026-01-31")
    assert office.refused(office.made()).endswith("after its last day (2026-01-31)")


def test_what_a_revoked_key_signed_is_refused_whenever_it_was(office):
    """The time in a signature is the signer's word."""
    run_id = office.made()
    assert isinstance(office.session().find(TRAIN), Hit)
    trust(office.root, office.key, "ada", "revoked: 2126-10-01")
    assert office.refused(run_id) == "signed with the key ada, which is revoked (2126-10-01)"


def test_after_a_rotation_both_keys_count_for_their_times(office, tmp_path, monkeypatch):
    """The old one signed before its last day, the new one now."""
    before = office.made(replace(TRAIN, params={"seed": "1"}).with_key())
    trust(office.root, office.key, "ada-2026", "until: 2126-12-31")
    (office.root / "trusted_keys" / "ada.pub").unlink()
    new = private_key(tmp_path, "new")
    trust(office.root, new, "ada-2027")
    monkeypatch.setenv(signing_key.VARIABLE, str(new))
    after = office.made()
    assert [office.session().hit(run_id).run_id for run_id in (before, after)] == [before, after]


def test_of_several_signatures_one_good_one_is_enough(office, tmp_path, monkeypatch):
    """Whatever stands beside it."""
    run_id, found = office.made(), office.envelope(office.made(replace(TRAIN, step="hpo").with_key()))
    written = office.envelope(run_id)
    other = {"keyid": "0" * 64, "sig": found["signatures"][0]["sig"]}
    written["signatures"] = [other, *written["signatures"]]
    office.file(run_id, names.SIGNATURE_FILE).write_text(json.dumps(written))
    assert isinstance(office.session().find(TRAIN), Hit)
    written["signatures"] = [{**other, "keyid": keyid(office.key)}]
    office.file(run_id, names.SIGNATURE_FILE).write_text(json.dumps(written))
    assert office.refused(run_id) == "the signature by ada is wrong: it was altered"


def of(**changes):
    return lambda good: json.dumps({**good, **changes})


def signatures(change):
    return lambda good: json.dumps({**good, "signatures": change(good["signatures"])})


MALFORMED = {
    "empty": lambda good: "",
    "no JSON": lambda good: "signed, Ada",
    "not text": lambda good: "\udcff\ud800",
    "a list": lambda good: "[]",
    "a number": lambda good: "1" * 10_000,
    "deeply nested": lambda good: "[" * 200_000,
    "deep in a field": lambda good: '{"payload": ' + "[" * 200_000,
    "huge": lambda good: json.dumps(good) + " " * 6_000_000,
    "no payload": lambda good: json.dumps({"payloadType": PAYLOAD_TYPE, "signatures": good["signatures"]}),
    "payload of a number": of(payload=1),
    "payload that is no base64": of(payload="*"),
    "payload with surrogates": of(payload="\ud800"),
    "another payload": of(payload=base64.b64encode(b"{}").decode()),
    "unknown type": of(payloadType="application/json"),
    "type of a list": of(payloadType=[PAYLOAD_TYPE]),
    "no signatures": of(signatures=[]),
    "signatures of a table": of(signatures={"0": 1}),
    "signatures of a text": of(signatures="ada"),
    "signatures of null": of(signatures=None),
    "too many": signatures(lambda one: one * 11),
    "twice the same": signatures(lambda one: one * 2),
    "signature of a number": signatures(lambda one: [{**one[0], "sig": 5}]),
    "signature that is short": signatures(lambda one: [{**one[0], "sig": "AAAA"}]),
    "signature that is no base64": signatures(lambda one: [{**one[0], "sig": "\x1b[2J"}]),
    "no key id": signatures(lambda one: [{"sig": one[0]["sig"]}]),
    "key id of a list": signatures(lambda one: [{**one[0], "keyid": []}]),
    "key id that moves the cursor": signatures(lambda one: [{**one[0], "keyid": "\x1b[2J\nrun"}]),
}


def test_a_malformed_envelope_is_refused_in_one_line(office):
    """Whoever may write to the bucket has written it."""
    run_id = office.made()
    good = office.envelope(run_id)
    for kind, change in MALFORMED.items():
        office.file(run_id, names.SIGNATURE_FILE).write_bytes(change(good).encode(errors="surrogatepass"))
        said = office.refused(run_id)
        assert said.isprintable() and len(said) < 250, (kind, said)


STATEMENT = b'{"_type": "https://in-toto.io/Statement/v1", "predicate": '
OTHERS = [
    *(b"", b"1", b"[]", b"{}", b"[" * 100_000, STATEMENT + b"3}", STATEMENT + b"{}}", STATEMENT + b'{"signedAt": 5}}'),
    STATEMENT + b'{"signedAt": "2026-01-01"}, "predicateType": "x"}',
]


def test_what_a_trusted_key_signed_for_another_program_is_refused(office):
    """The same key may sign commits or releases."""
    from securesystemslib.dsse import Envelope

    run_id = office.made()
    for payload in OTHERS:
        other = Envelope(payload, PAYLOAD_TYPE, {})
        other.sign(signing_key.load())
        office.file(run_id, names.SIGNATURE_FILE).write_text(json.dumps(other.to_dict()))
        said = office.refused(run_id)
        assert said.isprintable() and "sign" in said, payload


def recorded(office, run_id) -> recorded_run.RecordedRun:
    return recorded_run.read(office.session(trust="experiment"), run_id)


def test_who_signed_is_known_of_a_record_without_the_run(office, tmp_path):
    """A bundle carries the signature; trusted_keys is all that is asked."""
    commit = repository.commit(tmp_path / "code", {"MLproject": b"name: x\n", "requirements.lock": b"l\n",
                                                   "conda.yaml": b"c\n"})  # fmt: skip
    lineage = replace(TRAIN, inputs=(), source={"commit": commit, "dirty": False}).with_key()
    run_id = office.made(lineage)
    original = recorded(office, run_id)
    assert signers(office.session(), [original])[run_id].startswith("signed by ada, 2")
    path = bundle_writer.write(tmp_path / "b.zip", [run_id], [original], {run_id: tmp_path / "code"}, {})
    office.client.delete_run(run_id)
    with bundle.open_bundle(path, PIPELINE) as found:
        one = found.original(run_id)
        assert signers(office.session(), [one])[run_id].startswith("signed by ada, 2")
        require_signed(office.session(), [one], in_store=False)
        altered = replace(one, record=replace(one.record, metrics="0" * 64))
        assert signers(office.session(), [altered])[run_id].startswith("signature not valid: its signature is for metr")
        for bad in (altered, replace(one, signature=None), replace(one, signature=b"{}")):
            require_signed(office.session(trust="experiment"), [bad], in_store=False)
            with pytest.raises(NotSigned, match="of the bundle is not taken"):
                require_signed(office.session(), [bad], in_store=False)


def test_without_a_signature_nothing_is_said_of_signatures(office, monkeypatch):
    monkeypatch.delenv(signing_key.VARIABLE)
    assert signers(office.session(), [recorded(office, office.made())]) == {}


def test_what_is_reproduced_must_be_signed_up_to_its_origin(office, monkeypatch, client):
    """A signed run on a dataset of nobody's."""
    monkeypatch.delenv(signing_key.VARIABLE)
    dataset = office.made(replace(TRAIN, step="preprocess", inputs=()).with_key())
    monkeypatch.setenv(signing_key.VARIABLE, str(office.key))
    read = replace(TRAIN.inputs[0], uri=f"runs:/{dataset}/dataset")
    made = office.made(replace(TRAIN, inputs=(read,)).with_key())
    original = recorded(office, made)
    require_signed(office.session(trust="experiment"), [original], in_store=True)
    with pytest.raises(NotSigned, match=f"run {dataset} is not taken: it is not signed"):
        require_signed(office.session(), [original], in_store=True)


def test_a_chains_tags_cannot_name_other_runs(office, client):
    """Nobody signed the tags of `main`; its outputs are signed."""
    first, second = office.made(), office.made(replace(TRAIN, params={"seed": "2"}).with_key())
    [output] = cache.read(first).outputs
    run_id = begin(client, **{names.PROJECT: "trips of here:/trips", **run_tags.of_steps({"train": first})})
    chain = replace(TRAIN, step="main", outputs=(replace(output, name="train.model"),)).with_key()
    record_finish(office.session(run_id), chain)
    client.set_terminated(run_id)
    assert recorded_run.step_runs(office.session(), run_id) == [first]
    client.set_tag(run_id, names.STEPS, run_tags.of_steps({"train": second})[names.STEPS])
    with pytest.raises(RunError, match="names other runs in its tags than its signed record"):
        recorded_run.step_runs(office.session(), run_id)


def test_an_envelope_of_many_outputs_is_far_from_the_limit(office):
    """A search with a thousand candidates."""
    key = signing_key.load()
    subjects = {f"model-{number}": {"filesSha256": "a" * 64} for number in range(1000)}
    assert len(envelope.sign(key, "x", subjects, {})) < envelope.MOST_BYTES / 10

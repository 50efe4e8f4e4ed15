"""A team's server, and one who holds its database and its bucket: what he forges nobody takes who takes signed runs."""

import json
import subprocess
from dataclasses import replace

import pytest

from provenance.record import names
from provenance.record.artifacts import open_artifact
from provenance.record.digest import list_tree
from provenance.record.lineage import Lineage, Output
from provenance.reuse import cache
from provenance.signing.signing_key import VARIABLE
from tests.support import repository
from tests.support.project import Result, Workplace, copied
from tests.support.signing_keys import private_key, trust
from tests.support.team import BUCKET, team_server

pytestmark = pytest.mark.slow
DATA = {"source": "sample:1000"}
FIT = {**DATA, "model": "linear"}
# In the server's environment, past MLflow: rows of the database, objects of the bucket, from a list on stdin.
FORGE = """
import boto3, json, os, sys, sqlalchemy as sql
given = json.load(sys.stdin)
with sql.create_engine(sys.argv[1]).begin() as link:
    for table, where, value in given["rows"]:
        column = {"tags": "value", "latest_metrics": "value", "metrics": "value"}[table]
        done = link.execute(sql.text(f"UPDATE {table} SET {column} = :value WHERE run_uuid = :run AND key = :key"),
                            {"value": value, "run": given["run"], "key": where})
        assert done.rowcount, (table, where)
bucket = boto3.resource("s3", endpoint_url=os.environ["MLFLOW_S3_ENDPOINT_URL"]).Bucket(sys.argv[2])
names = [item.key for item in bucket.objects.all()]
for path, content in given["objects"].items():
    [name] = [name for name in names if name.endswith(f"{given['run']}/artifacts/{path}")]
    bucket.put_object(Key=name, Body=content.encode())
"""


@pytest.fixture(scope="module")
def team(tmp_path_factory):
    with team_server(tmp_path_factory.mktemp("server")) as server:
        server.add("ada")
        yield server


@pytest.fixture(scope="module")
def office(tmp_path_factory):
    """A committed copy of the project in which ada's key is trusted, and her private key."""
    folder = tmp_path_factory.mktemp("office")
    key = private_key(folder, "ada")
    project = copied(folder / "project")
    trust(project, key, "ada")
    repository.commit(project)
    return project, key


@pytest.fixture(scope="module")
def run(team, office, tmp_path_factory):
    """`mlflow run` by ada, with her key unless `signs` is false."""
    place = Workplace(tmp_path_factory.mktemp("place"))
    project, key = office

    def start(entry_point: str, signs: bool = True, **params) -> Result:
        env = team.variables("ada") | ({VARIABLE: str(key)} if signs else {})
        return place.run(entry_point, project, env=env, experiment="trips", **params)

    return start


def forge(team, run_id: str, rows: list, objects: dict[str, str]) -> None:
    """Write to the database and the bucket, as nobody could through MLflow."""
    command = [team.folder / "environment/bin/python", "-c", FORGE, team.database, BUCKET]
    given = json.dumps({"run": run_id, "rows": rows, "objects": objects})
    subprocess.run(command, input=given, text=True, check=True, env=team.bucket, cwd=team.folder)


def forged(folder, lineage: Lineage) -> tuple[Lineage, dict[str, str]]:
    """The record for a dataset with one file changed, and that file: path in the run -> its content."""
    path = sorted(path for path in folder.rglob("*.json"))[0]
    path.write_text(path.read_text() + "\n")
    [output] = lineage.outputs
    made = Output.of(output.name, output.uri, list_tree(folder, output.volatile))
    return replace(lineage, outputs=(made,)), {f"{output.name}/{path.relative_to(folder)}": path.read_text()}


def test_who_holds_the_database_and_the_bucket_forges_no_signature(team, run, tmp_path):
    """A dataset, its record, digests and tags agree with each other: the default takes it, trust=signed does not."""
    first = run("preprocess", **DATA)
    assert first.exit_code == 0, first.stderr
    again = run("preprocess", trust="signed", **DATA)
    assert again.exit_code == 0 and f"reused run {first.run_id}" in again.stderr
    with team.acting("ada"):
        lineage = cache.read(first.run_id)
        with open_artifact(f"runs:/{first.run_id}/dataset") as folder:
            other, objects = forged(folder, lineage)
    rows = [
        ["tags", names.OUTPUTS, other.outputs_digest()],
        ["tags", names.MADE, other.tags()[names.MADE]],
    ]
    forge(team, first.run_id, rows, {**objects, names.LINEAGE_FILE: other.to_json()})
    taken = run("preprocess", **DATA)
    assert taken.exit_code == 0 and f"reused run {first.run_id}" in taken.stderr, taken.stderr
    refused = run("train", trust="signed", dataset=first.run_id, **FIT)
    why = f"run {first.run_id} is not taken: lineage.json or an output was altered after it was signed"
    assert refused.exit_code != 0 and why in refused.errors() and "Traceback" not in refused.stderr
    reproduced = run("reproduce", trust="signed", run_id=first.run_id, env_manager="local")
    assert reproduced.exit_code != 0 and why in reproduced.errors()
    without_key = run("train", signs=False, trust="signed", **FIT)
    assert without_key.exit_code != 0 and "preprocess has to run, and what it makes would not be taken" in (
        without_key.errors()
    )
    anew = run("train", trust="signed", **FIT)
    assert anew.exit_code == 0 and f"cannot reuse: {why}" in anew.stderr, anew.stderr
    verdict = run("reproduce", trust="signed", run_id=anew.run_id, env_manager="local", depth="all")
    assert verdict.exit_code == 0 and "grade identical" in verdict.stdout, verdict.stderr
    assert "train       signed by ada, 2" in verdict.stdout

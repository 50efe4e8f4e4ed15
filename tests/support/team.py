"""A team's server as docs/team.md sets it up: MLflow with users, on PostgreSQL, its artifacts in a bucket."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import requests

from tests.support.processes import background, free_port, wait_for_answer
from tests.support.project import ROOT, environment

LOCKS = (ROOT / "docs" / "team" / "requirements.lock", ROOT / "tests" / "bucket.lock")
BUCKET = "taxi"


@dataclass
class Secrets:
    """Every password of the team, by what it opens: none may ever be found in what a run leaves or says."""

    words: dict[str, str] = field(default_factory=dict)

    def __getitem__(self, name: str) -> str:
        return self.words.setdefault(name, secrets.token_hex(16))


def server_environment(folder: Path) -> Path:
    """A virtual environment of exactly the server's lock, and of what stands in for its bucket; its ``bin``."""
    uv, python = Path(sys.executable).parent / "uv", folder / "bin" / "python"
    subprocess.run([uv, "venv", "-q", "--python", sys.executable, folder], check=True, capture_output=True)
    subprocess.run(
        [uv, "pip", "sync", "-q", "--python", python, "--require-hashes", *LOCKS], check=True, capture_output=True
    )
    return folder / "bin"


def postgres_programs() -> Path:
    """Where initdb and postgres are; skips the test where there are none."""
    found = shutil.which("initdb")
    places = [Path(found).parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not places:
        pytest.skip("left out: a server on PostgreSQL, which is not installed (apt-get install postgresql)")
    return places[-1]


@contextlib.contextmanager
def postgres(password: str) -> Iterator[str]:
    """An empty database in a folder that goes afterwards; its URI. Refuses to run as root, so then as `postgres`."""
    programs, port = postgres_programs(), free_port()
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))  # not pytest's, which no other user may enter
    secret = folder / "password"
    secret.write_text(password)
    become = {}
    if os.getuid() == 0:
        become = {"user": "postgres", "group": "postgres", "extra_groups": []}
        for path in (folder, secret):
            shutil.chown(path, "postgres")
    data = folder / "data"

    def run(program: str, *words: object) -> None:
        # To files: what pg_ctl starts keeps its output open.
        with (folder / "log").open("ab") as out:
            subprocess.run([programs / program, "-D", data, *words], check=True, stdout=out, stderr=out,
                           env={"PATH": os.defpath, "LC_ALL": "C.UTF-8"}, cwd=folder, **become)  # fmt: skip

    try:
        run("initdb", "-U", "mlflow", "-A", "scram-sha-256", "--pwfile", secret)
        run("pg_ctl", "-w", "-o", f"-p {port} -k {folder} -h 127.0.0.1", "start")
        yield f"postgresql://mlflow:{password}@127.0.0.1:{port}/postgres"
    finally:
        with contextlib.suppress(subprocess.CalledProcessError):
            run("pg_ctl", "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class Team:
    """A running server, its users and its secrets."""

    uri: str
    secrets: Secrets
    folder: Path  # the server's own: its log, auth.ini
    database: str
    bucket: dict[str, str]  # what its client needs to know

    def everything_kept(self) -> Iterator[tuple[str, bytes]]:
        """(where, content) of all that the server stores: each row of each table, each object of the bucket."""
        script = (
            "import boto3, os, sys, sqlalchemy as sql\n"
            "engine, out = sql.create_engine(sys.argv[1]), sys.argv[2]\n"
            "tables = sql.MetaData(); tables.reflect(engine)\n"
            "with engine.connect() as link, open(out + '/database', 'w') as file:\n"
            "    for table in tables.sorted_tables:\n"
            "        for row in link.execute(sql.select(table)): print(table.name, tuple(row), file=file)\n"
            "bucket = boto3.resource('s3', endpoint_url=os.environ['MLFLOW_S3_ENDPOINT_URL']).Bucket(sys.argv[3])\n"
            "for n, item in enumerate(bucket.objects.all()): bucket.download_file(item.key, f'{out}/{n}')\n"
        )
        with tempfile.TemporaryDirectory() as out:
            command = [self.folder / "environment/bin/python", "-c", script, self.database, out, BUCKET]
            subprocess.run(command, check=True, env=self.bucket, cwd=out)
            for path in Path(out).iterdir():
                yield path.name, path.read_bytes()

    def variables(self, user: str) -> dict[str, str]:
        """What `user` sets to work with the server."""
        return {
            "MLFLOW_TRACKING_URI": self.uri,
            "MLFLOW_TRACKING_USERNAME": user,
            "MLFLOW_TRACKING_PASSWORD": self.secrets[user],
        }

    def ask(self, path: str, **content: str) -> None:
        """POST to the server as its admin."""
        answer = requests.post(
            f"{self.uri}/api/{path}", json=content, auth=("admin", self.secrets["admin"]), timeout=60
        )
        assert answer.ok, answer.text

    def add(self, user: str) -> None:
        self.ask("2.0/mlflow/users/create", username=user, password=self.secrets[user])

    def grant(self, user: str, kind: str, name: str, permission: str) -> None:
        """`kind` is experiment (by id) or registered_model; permission READ, EDIT or MANAGE."""
        content = {"username": user, "resource_type": kind, "resource_id": name, "permission": permission}
        self.ask("3.0/mlflow/users/permissions/grant", **content)

    @contextlib.contextmanager
    def acting(self, user: str) -> Iterator[object]:
        """An MlflowClient in the name of `user`, for the test itself."""
        import mlflow

        before, wanted = mlflow.get_tracking_uri(), self.variables(user)
        saved = {name: os.environ.get(name) for name in wanted}
        os.environ.update(wanted)
        mlflow.set_tracking_uri(self.uri)
        try:
            yield mlflow.MlflowClient(self.uri)
        finally:
            mlflow.set_tracking_uri(before)
            for name, value in saved.items():
                os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)


@contextlib.contextmanager
def team_server(folder: Path, workers: int = 2) -> Iterator[Team]:
    """PostgreSQL, a bucket, and `mlflow server` with users before both; artifacts pass through the server."""
    secret = Secrets()
    programs = server_environment(folder / "environment")
    bucket_port, port = free_port(), free_port()
    plain = environment({"AWS_ACCESS_KEY_ID": "bucket", "AWS_SECRET_ACCESS_KEY": secret["bucket"],
                         "AWS_DEFAULT_REGION": "us-east-1",
                         "MLFLOW_S3_ENDPOINT_URL": f"http://127.0.0.1:{bucket_port}"})  # fmt: skip
    log = folder / "server.log"
    with contextlib.ExitStack() as stack:
        database = stack.enter_context(postgres(secret["database"]))
        moto = [programs / "moto_server", "-H", "127.0.0.1", "-p", str(bucket_port)]
        bucket = stack.enter_context(background(moto, folder / "bucket.log", plain, folder))
        wait_for_answer(plain["MLFLOW_S3_ENDPOINT_URL"], folder / "bucket.log", bucket)
        make = "import boto3, os, sys; url = os.environ['MLFLOW_S3_ENDPOINT_URL']\n"
        make += "boto3.client('s3', endpoint_url=url).create_bucket(Bucket=sys.argv[1])"
        subprocess.run([programs / "python", "-c", make, BUCKET], check=True, env=plain, cwd=folder)
        auth = folder / "auth.ini"
        auth.write_text(
            "[mlflow]\ndefault_permission = READ\n"
            f"database_uri = {database}\nadmin_username = admin\n"
            "auth_cache_ttl_seconds = 60\n"
            "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
        )
        command = [
            programs / "mlflow", "server", "--app-name", "basic-auth", "--host", "127.0.0.1", "--port", str(port),
            "--workers", str(workers), "--artifacts-destination", f"s3://{BUCKET}/artifacts",
        ]  # fmt: skip
        # Passwords by environment and file: an argument is seen by everybody on the machine.
        variables = plain | {
            "MLFLOW_BACKEND_STORE_URI": database,
            "MLFLOW_AUTH_CONFIG_PATH": str(auth),
            "MLFLOW_AUTH_ADMIN_PASSWORD": secret["admin"],
            "MLFLOW_FLASK_SERVER_SECRET_KEY": secret["session"],
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        }
        server = stack.enter_context(background(command, log, variables, folder))
        wait_for_answer(f"http://127.0.0.1:{port}/health", log, server)
        yield Team(f"http://127.0.0.1:{port}", secret, folder, database, plain)

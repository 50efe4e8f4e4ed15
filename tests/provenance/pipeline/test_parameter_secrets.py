"""A password or token in a parameter: refused by every command, named by the parameter alone, before all else."""

import time
from importlib import import_module

import click
import pytest
import yaml
from click.testing import CliRunner

from provenance.pipeline.parameter_secrets import holds_credentials
from steps.options import OPTIONS
from tests.support.in_process import made_for
from tests.support.project import ROOT, workplace

WORD = "hunter2-word"
SECRETS = [
    "http://user:{}@host/x", "https://{}@host/x", "HTTPS://A:{}@H", "s3://KEY:{}@bucket/p", "ssh://git:{}@host/x",
    "https://ada:a/b@{}@host/x", "dask://u:{}@host:8786", "abfs://c:{}@acc.dfs.core.windows.net/x", "//u:{}@host/x",
    "ada:{}@host:taxi", "https://host/x?token={}", "https://host/x?a=1&X-Amz-Signature={}", "https://host/x?sig={}",
    "https://host/x?AWSAccessKeyId=AK&Signature={}", "AccountName=a;AccountKey={};", "https://h/?X-Goog-Credential={}",
    "https://host/#access_token={}", "s3://b/x?secret_key={}", "runs:/x?api_key={}", "https://host/x?password={}",
    "2023-01,https://u:{}@host",
]  # fmt: skip
HARMLESS = [
    "sample:3000", "tlc", "/data/months", "s3://bucket/a@b", "models:/nyc-taxi-duration@champion", "runs:/0123/dataset",
    "https://host:8080/x@y", "git@github.com:a/b.git", "ssh://git@host/x", "ssh://ada@host/x", "hdfs://ada@node/x",
    "https://github.com/a/b", "2023-01,2023-02", '{"max_depth": 6}', "dask://host:8786", "dask://[::1]:8786", "C:\\x",
    "green_tripdata.parquet", "s3://b/x?region=eu&endpoint_override=host:9000", "a:b", "models:/m-1", "train+val",
    "/data/a:b@c/d", "gs://b/keys/x", "https://h/x?monkey=banana", "file:///srv/my@x/y", "/srv/token=1/x", "none",
]  # fmt: skip


@pytest.mark.parametrize("form", SECRETS)
def test_a_password_or_token_is_seen(form):
    """Before a host, also with a slash in it, and in queries as S3, Google and Azure sign them."""
    assert holds_credentials(form.format(WORD))


@pytest.mark.parametrize("text", HARMLESS)
def test_ordinary_values_are_taken(text):
    """Users of ssh, aliases, ports and an @ in a path are no passwords."""
    assert not holds_credentials(text)


@pytest.mark.parametrize("text", ["//", "//a:", "token", "a:b", "?", "&a.a-", "://x@", "-a"])
def test_a_long_value_takes_no_long_time(text):
    """The time grows with the length of a value, not with its square: a megabyte is a matter of a second."""
    before = time.process_time()
    holds_credentials(text * (1_000_000 // len(text)))
    assert time.process_time() - before < 20


def until(holds, seconds: int = 120) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def commands() -> list[str]:
    return sorted(yaml.safe_load((ROOT / "MLproject").read_text())["entry_points"])


@pytest.mark.parametrize("name", commands())
def test_every_parameter_of_every_command_is_looked_at(name, monkeypatch, tmp_path):
    """One line with the parameter and how to give credentials instead, exit code 2, and the password nowhere."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    command = getattr(import_module(f"steps.{name}"), name)
    for option in command.params:
        value = f"https://ada:{WORD}@host/x"
        result = CliRunner().invoke(command, [option.opts[0], value])
        assert result.exit_code == 2, (option.name, result.output)
        assert f"Error: parameter {option.name} holds a password, token or key" in result.output
        assert "~/.netrc" in result.output and "AWS_ACCESS_KEY_ID" in result.output
        assert WORD not in result.output
    assert list(tmp_path.iterdir()) == []


def test_every_option_is_made_so():
    """Whoever adds a parameter gets the check with it."""
    for decorate in OPTIONS.values():
        (option,) = decorate(click.command("x")(lambda **_: None)).params
        assert type(option).__module__ == "provenance.pipeline.parameter_secrets"


@pytest.fixture
def launched(client, monkeypatch):
    """The run that `mlflow run` made for a step, with its parameter as it logs it."""
    experiment = client.get_experiment_by_name("trips").experiment_id
    run = made_for(client, experiment, "preprocess", {"source": f"'https://ada:{WORD}@host/x?a=1&b=2'"})
    monkeypatch.setenv("MLFLOW_RUN_ID", run.info.run_id)
    return run.info.run_id


def test_the_run_that_has_the_password_already_is_deleted(client, launched):
    """MLflow logs parameters before a step starts, and cannot take one back: the run goes, and what stays is said."""
    from steps.preprocess import preprocess

    result = CliRunner().invoke(preprocess, ["--source", f"https://ada:{WORD}@host/x?a=1&b=2"])
    assert result.exit_code == 2
    assert f"run {launched}, which is deleted as soon as that ends" in result.output
    assert f"mlflow gc --run-ids {launched}" in result.output
    client.set_terminated(launched, "FAILED")  # as `mlflow run` does
    until(lambda: client.get_run(launched).info.lifecycle_stage == "deleted")


def test_another_run_that_the_environment_names_is_left_alone(client, launched):
    """MLFLOW_RUN_ID may be exported, and name a run of last week."""
    from steps.preprocess import preprocess

    result = CliRunner().invoke(preprocess, ["--source", f"https://grace:{WORD}@elsewhere"])
    assert result.exit_code == 2
    assert client.get_run(launched).info.lifecycle_stage == "active"
    assert launched not in result.output
    client.set_terminated(launched)  # also where the parameter is the same
    before = client.get_run(launched).to_dictionary()
    result = CliRunner().invoke(preprocess, ["--source", f"https://ada:{WORD}@host/x?a=1&b=2"])
    assert result.exit_code == 2
    assert launched not in result.output
    assert client.get_run(launched).to_dictionary() == before


def test_mlflow_run_with_a_password_leaves_no_run(tmp_path, migrated_store):
    """The real thing: one clear end, and no run that anybody is shown."""
    place = workplace(tmp_path, migrated_store)
    result = place.run("preprocess", source=f"https://ada:{WORD}@127.0.0.1:1/x")
    assert result.exit_code == 1
    assert "parameter source holds a password, token or key" in result.errors()
    assert WORD not in result.errors().split("ERROR mlflow")[0] and "Traceback" not in result.stderr
    until(lambda: place.client.search_runs(["0"]) == [])
    assert not list((tmp_path / "mlruns").rglob("*.json"))


def test_a_password_in_the_repositorys_address_is_taken_off_mlflows_tags(client):
    """`mlflow run https://token@host/x` and a remote with a password: MLflow repeats both in tags of its own."""
    from provenance.record.writer import clean_addresses

    tags = {
        "mlflow.source.name": f"https://ada:{WORD}@host/x#examples",
        "mlflow.source.git.repoURL": f"https://{WORD}@host/x.git",
        "mlflow.gitRepoURL": "ssh://git@host/x.git",
        "mlflow.user": f"https://ada:{WORD}@host",
    }
    run = client.create_run(client.get_experiment_by_name("trips").experiment_id, tags=tags)
    assert clean_addresses(run) == {
        "mlflow.source.name": "https://host/x#examples",
        "mlflow.source.git.repoURL": "https://host/x.git",
    }

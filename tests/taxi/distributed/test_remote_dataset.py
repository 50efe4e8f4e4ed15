"""The dataset as a cluster's workers get it."""

import contextlib
import http.server
import json
import shutil
import threading
from functools import partial

import pytest

from provenance.record.artifacts import address
from runtime.files import sha256_file
from taxi.dataset.dataset import DatasetError, build
from taxi.distributed.remote_dataset import load_splits
from taxi.features.fitting import FEATURE_SETS
from tests.support.processes import background, free_port, wait_for_answer
from tests.support.project import LAUNCHER, environment


@pytest.fixture
def folder(month_of, tiny_trips, tmp_path):
    """A dataset of twelve trips of January to train on, and the same twelve to validate."""
    splits = {"train": [month_of(tiny_trips)], "val": [month_of(tiny_trips, "2023-02")]}
    build(splits, FEATURE_SETS["course"], tmp_path / "a dataset")
    return tmp_path / "a dataset"


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *words):
        pass


@pytest.fixture
def server(tmp_path):
    """The URL under which `tmp_path` is served, as a tracking server serves artifacts: files alone, by name."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(tmp_path))) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{served.server_port}"
        served.shutdown()


def test_a_dataset_is_the_same_from_a_folder_its_uri_or_a_server(folder, server):
    """Train first, then val, as they were written."""
    there = [load_splits(str(folder)), load_splits(folder.as_uri()), load_splits(f"{server}/a%20dataset")]
    for train, val in there:
        assert train.y.tolist() == there[0][0].y.tolist() and len(train) == 7
        assert val.columns == there[0][1].columns


def test_a_folder_that_is_no_dataset_is_refused_by_the_worker_too(tmp_path):
    """With the message of the dataset, not of a missing file."""
    with pytest.raises(DatasetError, match="is not a dataset"):
        load_splits(str(tmp_path))


def test_a_server_that_has_no_such_dataset_is_named(server):
    """With what to look after."""
    with pytest.raises(DatasetError) as error:
        load_splits(f"{server}/nothing")
    assert str(error.value) == (
        f"{server}/nothing/manifest.json cannot be fetched: HTTP Error 404: File not found\n"
        "Give workers the way to the artifact store."
    )


def test_a_server_with_users_is_asked_as_the_workers_user_and_nobody_else(folder, tmp_path, monkeypatch):
    """Without a user, or with another's password, it is said what a worker needs; a redirect takes nothing along."""

    class Guarded(Handler):
        def do_GET(self):
            asked.append((self.server.server_port, self.headers["Authorization"]))
            if self.server.server_port == port and self.headers["Authorization"] != "Basic YWRhOnNlY3JldA==":
                self.send_error(401)
            elif self.server.server_port == port and self.path.startswith("/moved"):
                self.send_response(302)
                self.send_header("Location", f"http://127.0.0.1:{elsewhere}/a%20dataset{self.path[6:]}")
                self.end_headers()
            else:
                super().do_GET()

    asked = []
    with contextlib.ExitStack() as stack:
        ports = []
        for _ in range(2):
            handler = partial(Guarded, directory=str(tmp_path))
            served = stack.enter_context(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler))
            threading.Thread(target=served.serve_forever, daemon=True).start()
            stack.callback(served.shutdown)
            ports.append(served.server_port)
        port, elsewhere = ports
        uri = f"http://127.0.0.1:{port}"
        with pytest.raises(DatasetError, match="401: Unauthorized\nStart the workers with MLFLOW_TRACKING_URI, "):
            load_splits(f"{uri}/a%20dataset")
        for name, value in (("URI", uri), ("USERNAME", "ada"), ("PASSWORD", "secret")):
            monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", value)
        assert len(load_splits(f"{uri}/a%20dataset")[0]) == 7
        assert len(load_splits(f"{uri}/moved")[0]) == 7
    assert {login for place, login in asked if place == elsewhere} == {None}


def test_another_dataset_in_its_place_is_refused(folder):
    """Whole in itself, but not the one whose digest is in the search's record."""
    expected = sha256_file(folder / "manifest.json")
    assert len(load_splits(str(folder), expected)) == 2
    with pytest.raises(DatasetError, match="is another dataset than the one searched on"):
        load_splits(str(folder), "0" * 64)


def test_a_server_cannot_make_a_worker_write_elsewhere(folder, server, tmp_path):
    """A manifest that lists files above its folder is refused before anything of it is fetched."""
    shutil.copytree(folder, tmp_path / "evil")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"] = {"../outside": {}} | manifest["files"]
    (tmp_path / "evil" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DatasetError, match="is no file of a dataset"):
        load_splits(f"{server}/evil")


@pytest.mark.slow
def test_workers_read_what_a_tracking_server_passes_on(folder, migrated_store, tmp_path):
    """A real `mlflow server` whose artifacts nobody reaches but through it: the address is one to read from."""
    import mlflow

    shutil.copy(migrated_store, tmp_path / "mlflow.db")
    port, log = free_port(), tmp_path / "log"
    command = [str(LAUNCHER), "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
               "--backend-store-uri", f"sqlite:///{tmp_path}/mlflow.db", "--artifacts-destination",
               str(tmp_path / "kept"), "--serve-artifacts"]  # fmt: skip
    before, uri = mlflow.get_tracking_uri(), f"http://127.0.0.1:{port}"
    with background(command, log, environment(), tmp_path) as server:
        wait_for_answer(f"{uri}/health", log, server)
        mlflow.set_tracking_uri(uri)
        client = mlflow.MlflowClient(uri)
        run = client.create_run(client.create_experiment("trips")).info
        client.log_artifacts(run.run_id, str(folder), "dataset")
        there = address(f"runs:/{run.run_id}/dataset")
        assert there.startswith(f"{uri}/api/2.0/mlflow-artifacts/artifacts/")
        train, _ = load_splits(there, sha256_file(folder / "manifest.json"))
        assert train.y.tolist() == load_splits(str(folder))[0].y.tolist()
    mlflow.set_tracking_uri(before)

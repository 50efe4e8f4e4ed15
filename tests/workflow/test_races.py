"""Many at once: chains and registrations on one store and on one server; nothing twice, no lock of a database seen."""

import contextlib
import itertools
import json
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest

from provenance.record import names
from provenance.registry.promotions import history
from tests.support.colleagues import tracking_server
from tests.support.processes import background
from tests.support.project import Workplace, environment, mlflow_run, workplace

pytestmark = pytest.mark.slow
SMALL = {"source": "sample:2000", "model": "linear", "max_evals": "2", "top_n": "1"}
PATIENCE_SECONDS = 3600  # eight chains beside other work
SEEDS = [1, 1, 1, 1, 2, 2, 3, 4]  # four ask for the same, two for another thing, two each for one of its own


@contextlib.contextmanager
def store(uri: str) -> Iterator[mlflow.MlflowClient]:
    """A client of the store, where MLflow's own calls look for artifacts, too."""
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    try:
        yield mlflow.MlflowClient(uri, registry_uri=uri)
    finally:
        mlflow.set_tracking_uri(before)


def at_once(folder: Path, entry_point: str, wanted: list[dict], variables: list[dict[str, str]]) -> list[str]:
    """What each of the `mlflow run`s said that were started together; all must have succeeded."""
    logs = [Path(tempfile.mkdtemp(dir=folder), "log") for _ in wanted]
    with contextlib.ExitStack() as stack:
        running = [
            stack.enter_context(background(mlflow_run(entry_point, **params), log, environment(more), folder))
            for params, more, log in zip(wanted, variables, logs, strict=True)
        ]
        for process in running:
            process.wait(PATIENCE_SECONDS)
    said = [log.read_text() for log in logs]
    for process, text in zip(running, said, strict=True):
        assert process.returncode == 0, text[-3000:]
        assert "locked" not in text.lower() and "Traceback" not in text, text
    return said


def shared(client: mlflow.MlflowClient, once: set[str], each: set[str]) -> None:
    """Steps `once` ran once for all, steps `each` once for each seed, whoever asked; no run is left open or failed."""
    runs = client.search_runs(["0"], max_results=1000)
    assert {run.info.status for run in runs} == {"FINISHED"}
    computed = Counter(
        (run.data.tags[names.STEP], run.data.tags[names.KEY]) for run in runs if names.OUTPUTS in run.data.tags
    )
    seeds = len(set(SEEDS))
    steps = Counter(step for step, _ in computed)
    steps.pop("main", None)  # a chain has no outputs of its own
    assert steps == {**dict.fromkeys(once, 1), **dict.fromkeys(each, seeds)}
    assert all(times == 1 for (step, _), times in computed.items() if step != "main"), computed
    trials = Counter(
        (run.data.tags[names.SEARCH_KEY], run.data.tags[names.TRIAL])
        for run in runs
        if names.TRIAL_RESULT in run.data.tags and names.REUSED not in run.data.tags
    )
    assert len(trials) == seeds * int(SMALL["max_evals"])
    assert set(trials.values()) == {1}, trials
    assert len(versions_of(client, "nyc-taxi-duration-sample")) == seeds


def versions_of(client: mlflow.MlflowClient, name: str) -> list:
    """The versions of a model, numbered without a gap; each is whole: loadable, decided on, with its card."""
    versions = sorted(client.search_model_versions(f"name = '{name}'"), key=lambda version: int(version.version))
    assert [int(version.version) for version in versions] == [*range(1, len(versions) + 1)]
    for version in versions:
        assert version.status == "READY"
        assert {names.KEY, names.DECISION, names.REASON, "test_rmse"} <= version.tags.keys()
        assert version.description
        mlflow.pyfunc.load_model(f"models:/{name}/{version.version}")
    return versions


def test_eight_chains_on_one_sqlite_store_share_what_they_can(tmp_path, migrated_store):
    """One preprocess for all eight; one train, search and version for all that ask for the same."""
    place = workplace(tmp_path, migrated_store)
    at_once(place.folder, "main", [{**SMALL, "seed": seed} for seed in SEEDS], [{}] * len(SEEDS))
    with store(place.store) as client:
        shared(client, once={"preprocess"}, each={"train", "hpo", "register"})


def test_eight_chains_on_one_server_share_what_they_can(tmp_path, migrated_store):
    """The same through HTTP, by the last step, which starts those before it."""
    place = workplace(tmp_path / "desk", migrated_store)
    with tracking_server(tmp_path / "server", migrated_store) as url:
        wanted = [{**SMALL, "seed": seed} for seed in SEEDS]
        at_once(place.folder, "register", wanted, [{"MLFLOW_TRACKING_URI": url}] * len(SEEDS))
        with store(url) as client:
            shared(client, once={"preprocess"}, each={"hpo", "register"})


SEARCHES = ({**SMALL, "features": "pickup"}, {**SMALL, "features": "full", "model": "xgboost"})
# What the worse one and the better one wait for, and where: before a version is `made`, before it `stands` at the gate,
# and before it `acts` on what it saw of the champion there.
ORDERS = {
    "as it comes": ({}, {}),
    "the worse one looks first": ({"acts": "better stands"}, {"stands": "worse looked"}),
    "the better one looks first": ({"stands": "better looked"}, {"acts": "worse stands"}),
    "the worse one is made first and judged last": ({"stands": "better decided"}, {"made": "worse made"}),
    "the better one is made first and judged last": ({"made": "better made"}, {"stands": "worse decided"}),
}
# Python reads this at its start. It makes the real step wait at three places, and changes nothing else.
PAUSES = """
import importlib.util, json, os, sys, time

class Pauses:
    looking = False

    def find_spec(self, name, path=None, target=None):
        watched = ("provenance.registry.promotions", "steps.models.promotion")
        if name not in watched or "RACER" not in os.environ or self.looking:
            return None
        self.looking = True
        spec = importlib.util.find_spec(name)
        self.looking = False
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            if name == "provenance.registry.promotions":
                module.register = told(module.register, "made", None, "made")
            else:
                module.decide_on = told(module.decide_on, "stands", "stands", "decided")
                module.aliases.holder = told(module.aliases.holder, None, None, "looked", "acts")

        spec.loader.exec_module = exec_module
        return spec

def told(function, first, before, after, then=None):
    def paused(*args, **kwargs):
        wait(first)
        tell(before)
        result = function(*args, **kwargs)
        tell(after)
        wait(then)
        return result
    return paused

def tell(event):
    if event:
        open(os.environ["EVENTS"] + "/" + os.environ["RACER"] + " " + event, "w").close()

def wait(place):
    event = json.loads(os.environ["WAITS"]).get(place)
    while event and not os.path.exists(os.environ["EVENTS"] + "/" + event):
        time.sleep(0.05)
    if event:
        time.sleep(2 if place == "acts" else 0)  # until the other one is in the queue

sys.meta_path.insert(0, Pauses())
"""


@pytest.fixture(scope="module")
def searched(tmp_path_factory, migrated_store) -> tuple[Workplace, list[str]]:
    """A store with a search whose model is worse and one whose model is better."""
    place = workplace(tmp_path_factory.mktemp("searched"), migrated_store)
    (place.folder / "sitecustomize.py").write_text(PAUSES)
    return place, [place.run("hpo", **params).run_id for params in SEARCHES]


numbers = itertools.count()


@pytest.mark.parametrize("order", ORDERS)
def test_two_registrations_at_once_end_with_the_better_one_as_champion(order, searched, tmp_path):
    """Whoever is made first, judged first, or takes longest; the version of each is whole."""
    place, searches = searched
    name = f"raced-{next(numbers)}"
    plain = {"PYTHONPATH": str(place.folder), "EVENTS": str(tmp_path)}
    racers = zip(("worse", "better"), ORDERS[order], strict=True)
    variables = [plain | {"RACER": racer, "WAITS": json.dumps(waits)} for racer, waits in racers]
    at_once(place.folder, "register", [{"search": run_id, "model_name": name} for run_id in searches], variables)
    with store(place.store) as client:
        versions = versions_of(client, name)
    assert len(versions) == 2
    worse, better = (next(one for one in versions if one.tags["search_run_id"] == run_id) for run_id in searches)
    assert place.client.get_model_version_by_alias(name, names.CHAMPION).version == better.version
    assert better.tags[names.DECISION] == "champion"
    worse_too = worse.tags[names.DECISION] == "champion"
    promoted = [int(entry.version) for entry in history(place.client, name)]
    assert promoted == ([int(worse.version)] if worse_too else []) + [int(better.version)]
    if "looks first" in order:
        assert worse_too == order.startswith("the worse")
    if "judged last" in order:
        assert worse_too == order.startswith("the better")
        assert int((worse if order.startswith("the worse") else better).version) == 1

"""A store of chains whose impact is known: as each thing is made, it inherits all that it was made from.

Two experiments share months, runs are reused across them, some months were published again, some runs were deleted;
among them lie repetitions, failed runs and the runs of strangers.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from dataclasses import dataclass, field

from provenance.record import names, run_tags
from provenance.record.lineage import Input
from tests.support.bulk_store import PROJECT, BulkStore, packages, sha

MONTHS = [f"2023-{number:02}" for number in range(1, 7)]
COMMITS = [sha(f"commit {number}")[:40] for number in range(3)]
NUMPY = ("2.4.5", "2.4.6")
EXPERIMENTS = ("1", "2")
NAME = "nyc-taxi-duration"


def month_digest(month: str, edition: int, taxi: str = "green") -> str:
    return sha(f"{taxi} {month} edition {edition}")


@dataclass
class Truth:
    """from_: id of a thing -> what it was made from: "file:<digest>", "run:<id>", "commit:..", "numpy:..", or a URI.

    kinds: id -> its kind. gone: the ids of things of deleted runs.
    """

    from_: dict[str, frozenset[str]] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    aliases: dict[str, tuple[str, ...]] = field(default_factory=dict)
    stands_for: dict[str, tuple[str, ...]] = field(default_factory=dict)  # a link or a chain -> runs

    def note(self, thing: str, kind: str, origins: Iterable[str], gone: bool = False) -> None:
        self.from_[thing], self.kinds[thing] = frozenset(origins), kind
        if gone:
            self.gone.add(thing)

    def of(self, *labels: str) -> dict[str, set[str]]:
        """Kind -> ids, of all that came of any of `labels` and is still there."""
        found: dict[str, set[str]] = {}
        for thing, origins in self.from_.items():
            if thing not in self.gone and origins & {*labels}:
                found.setdefault(self.kinds[thing], set()).add(thing)
        return found

    def labels(self, prefix: str) -> list[str]:
        """All labels that begin with `prefix`, sorted."""
        return sorted({label for origins in self.from_.values() for label in origins if label.startswith(prefix)})


@dataclass
class ImpactStore:
    """Fills `store`; `truth` is what came of what."""

    store: BulkStore
    seed: int = 0
    trials: int = 5
    truth: Truth = field(default_factory=Truth)
    versions: int = 0
    foreign: int = 0  # versions of strangers

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.datasets: dict[tuple[str, ...], str] = {}  # months' digests -> the run that made the dataset
        self.searches: dict[str, str] = {}  # dataset's run -> the newest search on it
        self.first_trials: dict[str, list[str]] = {}
        self.environments = {version: packages(numpy=version) for version in NUMPY}
        self.store.experiment(1, "trips")
        self.store.experiment(2, "colleagues")
        self.store.registered(NAME)
        self.store.registered("strangers")

    def fill(self, chains: int) -> Truth:
        for number in range(chains):
            self._chain(number, chains)
            if number % 7 == 3:
                self._junk()
        self.store.write()
        return self.truth

    def _work(self) -> tuple[dict[str, object], set[str]]:
        """Commit and environment of a run's own work, and their labels."""
        commit, numpy = self.random.choice(COMMITS), self.random.choice(NUMPY)
        given = {"commit": commit, "environment": self.environments[numpy]}
        return given, {f"commit:{commit}", f"numpy:{numpy}"}

    def _chain(self, number: int, chains: int) -> None:
        """preprocess (made or reused), train, hpo and register as the steps of one main, then maybe predict."""
        pick, store, truth = self.random, self.store, self.truth
        experiment = pick.choice(EXPERIMENTS)
        months = sorted(pick.sample(MONTHS, 3))
        edition = 1 if number < chains // 2 else pick.choice((1, 2))
        read = [Input(name, "tlc", month_digest(name, edition if name == "2023-01" else 1)) for name in months]
        main = store._next("run")
        place = {"experiment": experiment, "parent": main}
        dataset_run, preprocess = self._dataset(read, place)
        digest, uri = sha(f"dataset of {dataset_run}"), f"runs:/{dataset_run}/dataset"
        dataset = Input("dataset", uri, digest)
        below = {*truth.from_[uri], uri}
        work, labels = self._work()
        model = store.model(experiment)
        train = store.run(
            "train", [dataset], {"model": (sha(model), f"models:/{model}")}, models=[model], **work, **place
        )
        truth.note(f"models:/{model}", "model", below | labels | {f"run:{train}"})
        search, hpo = self._search(dataset_run, dataset, below, place)
        register = self._register(search, place, number)
        made = {"preprocess.dataset": (digest, uri), "hpo.search": (sha(search), f"runs:/{search}/search")}
        steps = {"preprocess": preprocess, "train": train, "hpo": hpo, "register": register}
        # As chain_run writes it: the runs that made the outputs, not those that reused them.
        made_by = {**steps, "preprocess": dataset_run, "hpo": search}
        marks = run_tags.of_steps(made_by)
        store.run("main", read, made, run_id=main, experiment=experiment, tags=marks)
        truth.stands_for[main] = tuple(made_by.values())

    def _dataset(self, read: list[Input], place: dict[str, str]) -> tuple[str, str]:
        """The run that made the dataset of these months, and the run of this chain, which may be a link to it."""
        key = tuple(item.digest for item in read)
        if key in self.datasets and self.random.random() < 0.7:
            made = self.datasets[key]
            output = {"dataset": (sha(f"dataset of {made}"), f"runs:/{made}/dataset")}
            # A link's inputs are as they were planned, here the recipe of a file, and not as they were read.
            planned = [Input(item.role, item.uri, sha(f"recipe {item.digest}")) for item in read]
            link = self.store.run("preprocess", planned, output, reused=made, **self._work()[0], **place)
            self.truth.stands_for[link] = (made,)
            return made, link
        work, labels = self._work()
        gone, run_id = self.random.random() < 0.1, self.store._next("run")
        params = {"taxi": "green", "train_months": read[0].role}
        self.store.run("preprocess", read, {"dataset": sha(f"dataset of {run_id}")}, run_id=run_id, deleted=gone,
                       params=params, placement={"source": "tlc"}, **work, **place)  # fmt: skip
        origins = {f"file:{item.digest}" for item in read} | labels | {f"run:{run_id}"}
        self.truth.note(f"runs:/{run_id}/dataset", "dataset", origins, gone)
        self.datasets[key] = run_id
        return run_id, run_id

    def _search(self, dataset_run: str, dataset: Input, below: set[str], place: dict[str, str]) -> tuple[str, str]:
        """The run of a search, and the run of this chain, which may be a link to it; trials may be earlier ones."""
        store, truth, earlier = self.store, self.truth, self.searches.get(dataset_run)
        if earlier and self.random.random() < 0.3:
            output = {"search": (sha(earlier), f"runs:/{earlier}/search")}
            link = store.run("hpo", [dataset], output, reused=earlier, **self._work()[0], **place)
            truth.stands_for[link] = (earlier,)
            return earlier, link
        work, labels = self._work()
        gone, run_id = self.random.random() < 0.1, store._next("run")
        own = below | labels | {f"run:{run_id}"}
        models, everything = [], set(own)
        for number in range(self.trials):
            reused = self.first_trials[earlier][number] if earlier and number < 2 else ""
            model = store.model(place["experiment"]) if number == 0 else ""
            listed = [model] if model else []
            trial = store.trial(
                run_id, number, experiment=place["experiment"], reused=reused, models=listed, deleted=gone
            )
            origins = own | {f"run:{trial}"}
            if reused:
                origins |= truth.from_[f"run:{reused}"] | {f"run:{reused}"}
                truth.stands_for[trial] = (trial, *truth.stands_for.get(reused, (reused,)))
            truth.note(f"run:{trial}", "trial", origins - {f"run:{trial}"}, gone)
            self.first_trials.setdefault(run_id, []).append(trial)
            everything |= origins
            if model:
                truth.note(f"models:/{model}", "model", origins, gone)
                models.append(model)
        outputs = {"search": sha(run_id), "model-0": (sha(models[0]), f"models:/{models[0]}")}
        store.run("hpo", [dataset], outputs, run_id=run_id, models=models, deleted=gone, **work, **place)
        truth.note(f"runs:/{run_id}/search", "search", everything, gone)
        self.searches[dataset_run] = run_id
        self.trial_model = {**getattr(self, "trial_model", {}), run_id: models[0]}
        return run_id, run_id

    def _register(self, search: str, place: dict[str, str], number: int) -> str:
        """A version of the search's model, or of one fitted again; a prediction and a report of it, now and then."""
        store, truth, pick = self.store, self.truth, self.random
        work, labels = self._work()
        uri, run_id = f"runs:/{search}/search", store._next("run")
        origins = {*truth.from_[uri], uri, f"run:{run_id}", *labels}
        model, models = self.trial_model[search], []
        if pick.random() < 0.7:  # refit
            model = store.model(place["experiment"])
            models = [model]
            truth.note(f"models:/{model}", "model", origins)
        else:
            origins |= truth.from_[f"models:/{model}"]
        self.versions += 1
        version = f"models:/{NAME}/{self.versions}"
        aliases = {5: ("champion",), 6: ("shadow", "candidate")}.get(number, ())
        store.version(NAME, self.versions, model, run_id, aliases, {names.SEARCH_RUN: search})
        store.run("register", [Input("search", uri, sha(search))], {"version": (sha(model), version)}, run_id=run_id,
                  models=models, **work, **place)  # fmt: skip
        truth.note(version, "version", origins | {f"models:/{model}"})
        truth.aliases[version] = aliases
        if pick.random() < 0.5 or aliases:
            self._use(version, place["experiment"])
        return run_id

    def _use(self, version: str, experiment: str) -> None:
        work, labels = self._work()
        trips, read = sha(f"trips for {version}"), Input("model", version, sha(version))
        run_id, out = self.store._next("run"), sha(f"minutes of {version}")
        outputs = {"predictions": (out, "minutes.parquet")}
        inputs = [read, Input("trips", "trips.parquet", trips)]
        self.store.run("predict", inputs, outputs, run_id=run_id, experiment=experiment, **work)
        origins = {*self.truth.from_[version], version, f"file:{trips}", f"run:{run_id}", *labels}
        self.truth.note(f"run:{run_id}/predictions", "predictions", origins)
        work, labels = self._work()
        month = Input("2023-06", "tlc", month_digest("2023-06", 1))
        drift = self.store.run("drift", [read, month], experiment=experiment, **work)
        origins = {*self.truth.from_[version], version, f"file:{month.digest}", f"run:{drift}", *labels}
        self.truth.note(f"run:{drift}", "report", origins - {f"run:{drift}"})

    def _junk(self) -> None:
        """Runs of strangers and runs that left nothing: nothing came of any of it."""
        store = self.store
        some = self.random.choice([*self.datasets.values()])
        dataset = Input("dataset", f"runs:/{some}/dataset", sha(f"dataset of {some}"))
        month = Input("2023-01", "tlc", month_digest("2023-01", 1))
        champion = f"models:/{NAME}/1"
        # Another project's, and nobody's.
        for project in ("wine of example.org/wine", None):
            store.run("hpo", [dataset, month], {"search": sha("x")}, tags={names.PROJECT: project})
        # Failed, or a check whose outputs were revoked; it registered version 1 of a registry of its own.
        store.run("preprocess", [Input("2023-01", "sample", sha("a recipe"))], status="FAILED")
        store.run("register", [dataset], {"version": (sha("v"), champion)}, tags={names.OUTPUTS: None})
        # A version that says that a run here registered it; that run does not say so.
        self.foreign += 1
        store.version("strangers", self.foreign, "m-" + "9" * 32, some)
        check, model = store._next("run"), store.model()
        store.run("preprocess", [month], {"dataset": dataset.digest}, tags={names.OUTPUTS: None})
        store.run("hpo", [dataset], {"search": sha("z")}, models=[model], run_id=check, tags={names.OUTPUTS: None})
        store.trial(check, 0, models=[model], revoked=True)
        # With this project's mark: what they claim of others is not believed, and what cannot be read is passed over.
        lie = store._next("run")
        store.run("preprocess", [month], {"dataset": (dataset.digest, dataset.uri), "version": (sha("v"), champion),
                                          "model": (sha("m"), "models:/m-" + "0" * 32)}, run_id=lie)  # fmt: skip
        store.run("train", [Input("dataset", f"runs:/{lie}/dataset", sha("y"))], reused=lie)
        myself = store._next("run")
        store.run("hpo", [Input("dataset", f"runs:/{myself}/dataset", sha("y"))], reused=myself, run_id=myself)
        store.trial("0" * 32, 0, reused="1" * 32)
        bad = {names.INPUTS: json.dumps({"2023-01": "tlc \x1b[31m"}), run_tags.EARLIER_INPUT + "2023-02.uri": "tlc",
               run_tags.EARLIER_INPUT + "2023-02": "A" * 64, names.STEPS: json.dumps({"x": "../.."}),
               names.COMMIT: "\u202eabc", names.ENVIRONMENT: "<b>", names.PROJECT: PROJECT}  # fmt: skip
        store.run("<script>", tags=bad, user="\x1b[2J<img src=x>", status="FAILED")

"""Runs of other people that say anything: copies of real runs with tags and records altered, the same at each call."""

from __future__ import annotations

import copy
import json
import random
import sqlite3
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from mlflow.entities import Run

from provenance.record import names
from provenance.reuse import heartbeat

OTHER = "taxi of example.org/somebody-else"  # as another project's mark would be
DEEP = 3000
NOWHERE = "0" * 32
TEXTS = [
    "", " ", "0", "-1", "1", "NaN", "inf", "1e999", "9" * 400, "nobody", "soon", "None", "null", "true",
    "{}", "[]", '"x"', '{"a": 1}', '{"number": "x"}', '{"a":', "[" * DEEP, "x" * 5000, "ä" * 300,
    "\x1b[31mred\x1b[0m", "two\nlines", "\u202eright", "'; drop table runs; --", '"', "`", "%s%n{}",
    "../../etc/passwd", "file:///etc", "http://127.0.0.1:1/x", NOWHERE, "runs:/", "runs:/x/y",
    f"runs:/{NOWHERE}/dataset", "models:/", "models:/m-x/1", f"models:/m-{NOWHERE}", "models:/nobody/7",
]  # fmt: skip
VALUES = [
    None, True, False, 0, -1, 1.5, 10**30, float("inf"), float("nan"), "", "x", "x" * 5000, "\x1b[31m", "two\nlines",
    [], {}, [[]], [None], {"a": None}, {"": {}}, f"runs:/{NOWHERE}/dataset", "../../etc/passwd",
]  # fmt: skip
FILES = [b"", b"{", b"null", b"[]", b'"x"', b"\xff\xfe", b"[" * DEEP, b'{"schema": 1}', b'{"schema": 1, "step": {}}']
_PREFIXES = ("lineage.", "alive.", "gate.", "reproduction.", "compared.", "mlflow.", "chain", "family", "features")
WRITTEN = [value for value in vars(names).values() if isinstance(value, str) and value.startswith(_PREFIXES)]
_INNER = ("x", "seed", "dataset", "dataset.uri")
NAMED = [name for name in WRITTEN if not name.endswith(".")]
NAMED += [f"{name}{what}" for name in WRITTEN if name.endswith(".") for what in _INNER]


def fill(store: Path, real: list[Run], project: str, count: int, seed: int) -> list[str]:
    """Put `count` junk runs beside the `real` ones into the sqlite file `store`; their ids.

    Each is newer than what it was copied from, so it is met first. Whose they are varies: ours, another's, nobody's.
    """
    choose = random.Random(seed)
    now, made = int(time.time() * 1000), []
    with sqlite3.connect(store) as database:
        for number in range(count):
            run = real[number % len(real)]
            run_id = uuid.UUID(int=choose.getrandbits(128)).hex
            folder = store.parent / "junk" / run_id / "artifacts"
            status = choose.choice(["RUNNING", "FINISHED", "FINISHED", "FAILED", "KILLED", "SCHEDULED"])
            start = choose.choice([0, -1, now + number, now + number, now - 90 * 86_400_000, 9 * 10**15])
            end = choose.choice([None, 0, now + number, now + number, now - 90 * 86_400_000, 9 * 10**15])
            database.execute(
                "INSERT INTO runs (run_uuid, name, source_type, source_name, entry_point_name, user_id, status,"
                " start_time, end_time, source_version, lifecycle_stage, artifact_uri, experiment_id)"
                " VALUES (?, 'junk', 'UNKNOWN', '', '', 'nobody', ?, ?, ?, '', 'active', ?, ?)",
                [run_id, status, start, end, str(folder), run.info.experiment_id],
            )
            for name, value in _tags(choose, run, project, run_id, number).items():
                database.execute("INSERT INTO tags (key, value, run_uuid) VALUES (?, ?, ?)", [name, value, run_id])
            for name, value in run.data.params.items():
                odd = choose.choice([value, value, value, *TEXTS])
                database.execute("INSERT INTO params (key, value, run_uuid) VALUES (?, ?, ?)", [name, odd, run_id])
            kept = choose.choice([1.0, 1.0, 0.5, 0.0])  # of the metrics
            for name, value in run.data.metrics.items():
                if choose.random() >= kept:
                    continue
                odd = choose.choice([value, value, value, 0.0, -1.0, 1e308])
                row = [name, odd, now, 0, choose.random() < 0.05, run_id]
                database.execute("INSERT INTO latest_metrics VALUES (?, ?, ?, ?, ?, ?)", row)
            if content := _record(choose, run):
                folder.mkdir(parents=True)
                (folder / names.LINEAGE_FILE).write_bytes(content)
            made.append(run_id)
    return made


def _tags(choose: random.Random, run: Run, project: str, run_id: str, number: int) -> dict[str, str]:
    tags = dict(run.data.tags)
    tags.pop(names.PROJECT, None)
    tags |= choose.choice([{}, {names.PROJECT: OTHER}, {names.PROJECT: project}, {names.PROJECT: choose.choice(TEXTS)}])
    # Each name is hit in turn, whatever else chance does; a key that is nobody's is seldom looked at.
    altered = {NAMED[number % len(NAMED)], *choose.sample(NAMED, choose.choice([0, 1, 1, 3, 20]))} - {names.PROJECT}
    texts = [*TEXTS, run_id, heartbeat.this_host(), f"runs:/{run_id}/dataset"]
    tags |= {name: choose.choice(texts) for name in altered if name != names.KEY or choose.random() < 0.2}
    if choose.random() < 0.3:
        tags[names.PARENT] = choose.choice([run_id, "0" * 32, *TEXTS])
    return {name: value[:8000] for name, value in tags.items()}


def _record(choose: random.Random, run: Run) -> bytes | None:
    """The real run's lineage.json, with one value or more replaced; sometimes no JSON at all, or none."""
    source = Path(run.info.artifact_uri.removeprefix("file://"), names.LINEAGE_FILE)
    if choose.random() < 0.1 or not source.exists():
        return choose.choice([None, *FILES])
    record = copy.deepcopy(json.loads(source.read_text()))
    for _ in range(choose.choice([1, 1, 2, 5])):
        owner, key = choose.choice(list(_places(record)))
        if choose.random() < 0.2 and isinstance(owner, dict):
            owner.pop(key, None)
        else:
            owner[key] = choose.choice(VALUES)
    return json.dumps(record).encode()


def _places(value: object, top: bool = True) -> Iterator[tuple[dict | list, str | int]]:
    """Every place in a JSON value, as (container, key)."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(items):
        yield value, key
        yield from _places(inner, False)

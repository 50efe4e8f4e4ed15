"""Read and write expected.json: the results of `main`, with its default parameters, at this commit.

It contains digests, metrics, and the parameters, code and environment that led to them. It contains no run ids, times
or locations.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from provenance.pipeline.declaration import Pipeline
from provenance.pipeline.invocation import invocation
from provenance.record.lineage import Input, Lineage, Output
from provenance.reproduce.verdict import Made, measured

FILE = "expected.json"
SCHEMA = 1


class ExpectedError(ValueError):
    """expected.json is missing or cannot be read."""


def write(root: Path, steps: Iterable[Made], pipeline: Pipeline) -> Path:
    """Write the results of `steps`, in this order. The location of external inputs is left out."""
    record = {"schema": SCHEMA, "steps": [_plain(made, pipeline.location) for made in steps]}
    path = root / FILE
    path.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")
    return path


def read(root: Path) -> dict[str, Made]:
    """Step -> its expected result, in the order of the file. Raises ExpectedError."""
    path = root / FILE
    try:
        record = json.loads(path.read_text())
        if record["schema"] != SCHEMA:
            raise ExpectedError(f"{path} is of another version of this project\n Make it again: see docs/reproduce.md.")
        return {item["step"]: _made(item) for item in record["steps"]}
    except FileNotFoundError:
        raise ExpectedError(
            f"{path} is missing, so there is nothing to compare with\n"
            f" Make it: {invocation().command('verify', {'write': 'true'})}"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, ExpectedError):
            raise
        raise ExpectedError(
            f"{path} cannot be read ({error!r:.100})\n Take it from the commit: git checkout -- {FILE}"
        ) from error


def _plain(made: Made, location: str) -> dict[str, Any]:
    record = made.lineage
    return {
        "step": record.step,
        "params": dict(record.params),
        "placement": {name: text for name, text in record.placement.items() if name != location},
        "inputs": {item.role: item.digest for item in record.inputs},
        "code": dict(record.code),
        "engine": record.engine,
        "keyed": list(record.keyed),
        "environment": dict(record.environment),
        "outputs": {output.name: output.digest for output in record.outputs},
        "metrics": measured(made.metrics),
    }


def _made(item: Mapping[str, Any]) -> Made:
    lineage = Lineage(
        step=item["step"],
        params=item["params"],
        placement=item["placement"],
        inputs=tuple(Input(role, "", digest) for role, digest in item["inputs"].items()),
        code=item["code"],
        engine=item.get("engine", 0),
        keyed=tuple(item.get("keyed", ())),
        code_digest="",
        environment=item["environment"],
        environment_key="",
        source={},
        outputs=tuple(Output(name, "", digest) for name, digest in item["outputs"].items()),
    )
    return Made(FILE, lineage, {name: float(value) for name, value in item["metrics"].items()})

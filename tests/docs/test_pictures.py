"""`make pictures`: which pages it shows of a run, and that the browser shows them at their widths."""

import importlib.util
import shutil
import sys
from dataclasses import replace

import pytest

from provenance.record import names, run_tags
from provenance.record.lineage import Output
from tests.support.project import ROOT
from tests.support.records import RECORD, A


@pytest.fixture(scope="module")
def pictures():
    spec = importlib.util.spec_from_file_location("pictures", ROOT / "docs" / "pictures.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["pictures"] = module  # its dataclass looks there
    spec.loader.exec_module(module)
    yield module
    del sys.modules["pictures"]


def test_the_pages_are_those_of_the_newest_finished_chain(pictures, client):
    """Each step's run, wherever it ran, the version and the model it was made of; a repetition is none."""
    made = client.create_logged_model("1", name="linear-green-2023-01")
    client.create_registered_model("trips")
    client.create_model_version("trips", f"models:/{made.model_id}")
    steps = run_tags.of_steps({step: step[0] * 32 for step in ("preprocess", "train", "hpo", "register")})
    record = replace(RECORD, step="main", outputs=(Output("register.version", "models:/trips/1", A),))
    run = client.create_run("1", tags={**record.tags(), **steps})
    client.set_terminated(run.info.run_id)
    repeated = client.create_run("1", tags={names.STEP: "main", names.PARENT: "v" * 32})
    client.set_terminated(repeated.info.run_id)
    found = {shot.name: shot.path for shot in pictures.shots(client.tracking_uri, "newest")}
    assert found["main"] == f"experiments/1/runs/{run.info.run_id}"
    assert found["hpo"] == f"experiments/1/runs/{'h' * 32}"
    assert found["version"] == "models/trips/versions/1"
    assert found["model"] == f"experiments/1/models/{made.model_id}"
    assert {"runs", "train", "register", "dataset", "compare"} <= found.keys()


def test_without_a_finished_chain_it_says_what_to_do(pictures, client):
    """There is nothing to show."""
    with pytest.raises(SystemExit, match=r"no finished main in .*\n Run `make run` first"):
        pictures.shots(client.tracking_uri, "newest")


def test_a_page_is_pictured_at_both_widths(pictures, tmp_path):
    """As wide as asked for, once its text is there and what was to be clicked is clicked."""
    if not any(map(shutil.which, pictures.BROWSERS)):
        pytest.skip("left out: pictures of pages, there is no chromium")
    (tmp_path / "page.html").write_text("<button onclick='document.title = innerWidth'>Show</button>")
    with pictures.browser() as page:
        for width in pictures.WIDTHS:
            page.open((tmp_path / "page.html").as_uri(), width, "Show")
            page.click("Show")
            assert page.js("document.title") == str(width)
            page.save("page", width, tmp_path)
            header = (tmp_path / f"page-{width}.png").read_bytes()[:24]
            assert int.from_bytes(header[16:20], "big") == width

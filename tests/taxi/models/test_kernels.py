"""What another CPU changes: numpy and OpenBLAS choose their kernels by the CPU, here as on an older one."""

import json
import os
import subprocess
import sys

import pytest

from tests.support.project import ROOT

pytestmark = pytest.mark.slow
# Each also as on a machine that has no newer instructions.
KERNELS = {
    "numpy without AVX-512": {"NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR"},
    "numpy without AVX2": {"NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR"},
    "OpenBLAS as on Haswell": {"OPENBLAS_CORETYPE": "Haswell"},
    "OpenBLAS as on the oldest": {"OPENBLAS_CORETYPE": "Prescott"},
}
DEPENDS = ("model linear", "rmse linear")  # the solver of a linear model multiplies matrices


def given(variables: dict[str, str]) -> dict[str, object]:
    command = [sys.executable, "-W", "ignore", "-m", "tests.support.chain_digests", "sample:3000"]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **variables}, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def here() -> dict[str, object]:
    return given({})


@pytest.mark.parametrize("kernels", KERNELS)
def test_months_datasets_searches_and_trees_are_the_same_bytes_on_another_cpu(here, kernels):
    """So `main` on the default is `identical` there; a linear model is only close."""
    there = given(KERNELS[kernels])
    assert {name: text for name, text in there.items() if name not in DEPENDS} == {
        name: text for name, text in here.items() if name not in DEPENDS
    }
    assert there["rmse linear"] == pytest.approx(here["rmse linear"], rel=1e-6)

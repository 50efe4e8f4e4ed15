# Everything runs from .venv: the launcher (mlflow, uv) and what the tests need, pinned and hashed.
ifeq ($(OS),Windows_NT)
$(error this project runs on Linux and macOS, not on Windows itself: use WSL)
endif
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin

.PHONY: setup run test soak bench ui pictures lock lint audit clean

setup: .venv/ready ## the launcher: .venv/bin/mlflow, with uv beside it

# uv comes first, by pip and by hash; uv then installs the rest, by hash, in seconds.
# launcher.pth puts .venv/bin last on PATH, so that .venv/bin/mlflow finds uv without an activated environment and
# `conda activate` does not find .venv (first with --env-manager local, which runs the python on PATH); has MLflow make
# an environment or a database while no other process does (provenance/bootstrap/first_use_lock.py), convert no other version's database, and
# send no usage data; and has `mlflow` look for garbage rarely, at its end not at all: what is imported stays. That is one
# and a half seconds. Last, all is checked and compiled, as a step would on first use.
.venv/ready: requirements.lock requirements-dev.lock launcher.pth provenance/bootstrap/first_use_lock.py
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null || { \
	echo "Error: make needs Python 3.11 or newer, and $(or $(PYTHON),python3) is none." \
	"Install one (with its venv), or name it: make setup PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "setup 1 of 4: an empty environment in .venv, and uv" >&2
	@"$(PYTHON)" -m venv --clear .venv
	@grep -A100 '^uv==' requirements-dev.lock | awk 'NR > 1 && !/^ / {exit} {print}' > .venv/uv.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r .venv/uv.lock
	@echo "setup 2 of 4: $$(grep -hc '^[a-z].*==' requirements.lock) packages of requirements.lock and what the tests need" >&2
	@$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements.lock requirements-dev.lock
	@echo "setup 3 of 4: the start-up of .venv/bin/mlflow" >&2
	@site=$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))') && \
	cp provenance/bootstrap/first_use_lock.py "$$site/mlflow_first_use_lock.py" && cp launcher.pth "$$site"
	@echo "setup 4 of 4: check and compile every package" >&2
	@$(BIN)/python -c 'from provenance.bootstrap.environment_check import compile_environment; compile_environment()'
	@touch $@

run: setup ## the whole chain on the embedded default, in its own pinned environment
	@$(BIN)/mlflow run . --env-manager uv

test: setup ## the test suite
	$(BIN)/python -m pytest -n auto --dist loadfile -m "not slow"

# Files in the order of their names: the longest are not the last then. One process more than two cores, since much of
# it is waiting. tests/workflow/test_crash.py alone makes 50 kills.
soak: setup ## the long tests, half an hour
	KILLS=5 $(BIN)/python -m pytest -n $$(( $$(getconf _NPROCESSORS_ONLN) + 1 )) --dist loadfile --no-loadscope-reorder -m slow

bench: setup ## every published figure; benchmarks/RESULTS.md has the last ones
	for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

ui: setup ## MLflow's pages on the same store
	@echo "runs: http://127.0.0.1:$${MLFLOW_PORT:-5000}/#/experiments/0/runs?workflowType=machine_learning"
	@$(BIN)/mlflow ui

pictures: setup ## docs/pictures/ anew, of the newest `make run`; needs Chromium
	$(BIN)/python docs/pictures.py

lock: setup ## renew requirements*.lock from conda.yaml and pyproject.toml
	$(BIN)/python lock.py

audit: setup ## known vulnerabilities of what the locks pin (asks PyPI), and every licence
	$(BIN)/python audit.py

lint: setup ## style, and types as pyproject.toml has them
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

clean: ## the launcher; stores and environments stay
	rm -rf .venv

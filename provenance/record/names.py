"""Every tag, artifact and run name that the engine writes to MLflow. A project's own are in its steps/names.py."""

PREFIX = "lineage."

# Who and what: searchable in the UI, e.g. tags.`lineage.step` = 'hpo'.
# Which project a run is of (project_identity.py): only what carries ours may be ended, changed or deleted.
PROJECT = PREFIX + "project"
SCHEMA = PREFIX + "schema"
STEP = PREFIX + "step"
KEY = PREFIX + "key"
CODE = PREFIX + "code"
COMMIT = PREFIX + "commit"
REMOTE = PREFIX + "remote"
BRANCH = PREFIX + "branch"
DIRTY = PREFIX + "dirty"
PATCH = PREFIX + "patch"
LOCK = PREFIX + "lock"
ENVIRONMENT = PREFIX + "environment"
ENVIRONMENT_EQUALS_LOCK = PREFIX + "environment_equals_lock"
PYTHON = PREFIX + "python"
PLATFORM = PREFIX + "platform"
CPU = PREFIX + "cpu"
CORES = PREFIX + "cores"
MANAGER = PREFIX + "env_manager"
ENVIRONMENT_FOLDER = PREFIX + "env_folder"
PARAM = PREFIX + "param."
INPUT = PREFIX + "input."
OUTPUT = PREFIX + "output."

# Written last: the digest of the outputs record. A run without it left nothing that can be used.
OUTPUTS = PREFIX + "outputs"
# Written with it: the digest of the run's metrics, without those of the moment and curves.
METRICS = PREFIX + "metrics"
# On a run that did no work: the run whose outputs stand for its own.
REUSED = PREFIX + "reused"
# hpo: what a trial's result depends on; runs that share it share trials.
SEARCH_KEY = PREFIX + "search_key"
TRIAL = PREFIX + "trial"
TRIAL_RESULT = PREFIX + "trial_result"

# Signs of life of the process behind a RUNNING run, and its place in the queue for its key.
HOST = "alive.host"
PROCESS = "alive.process"
HEARTBEAT = "alive.beat"
TICKET = "alive.ticket"
# The same for the gate of one registered model: one run at a time may move its champion.
GATE = "gate.model"
GATE_TICKET = "gate.ticket"

# To filter and sort by in the UI.
FAMILY = "family"
CHAIN = "chain"

# A verdict's run names the run it judges; that one names each verdict on it.
REPRODUCTION_OF = "reproduction.of"
REPRODUCTION_GRADE = "reproduction.grade"
REPRODUCED = "reproduced."
COMPARED_A = "compared.a"
COMPARED_B = "compared.b"

# MLflow's own.
PARENT = "mlflow.parentRunId"
RUN_NAME = "mlflow.runName"
NOTE = "mlflow.note.content"
PROJECT_ENV = "mlflow.project.env"
ENTRY_POINT = "mlflow.project.entryPoint"
USER = "mlflow.user"
GIT_ADDRESSES = ("mlflow.source.name", "mlflow.source.git.repoURL", "mlflow.gitRepoURL")

# Artifacts.
LINEAGE_FILE = "lineage.json"
PATCH_FILE = "patch.diff"
DATASET = "dataset"
MODEL = "model"
SEARCH = "search"
ESTIMATOR = "estimator"
TRIALS_FILE = "trials.parquet"
BEST_PARAMS_FILE = "best_params.json"
SPACE_FILE = "search_space.json"
CANDIDATES_FILE = "candidates.json"
VERSION = "version"
PLOTS = "plots"
REPORT_FILE = "report.md"
VERDICT_FILE = "verdict.json"

# Metrics of the moment, not of the result: how fast this machine was, what the champion of the day was like. A run
# repeated later has others, so no verdict compares them (nor MLflow's own under system/).
OF_THE_MOMENT = ("system/", "gate/")
# Metrics that are curves: how a search went, trial by trial, and a fit, round by round. Pictures, which MLflow draws in
# sections of these names; the result is in other metrics, so no verdict compares them and who reuses a run has none.
BY_TRIAL = "trials/"
BY_ROUND = "rounds/"
CURVES = (BY_TRIAL, BY_ROUND)
NOT_JUDGED = OF_THE_MOMENT + CURVES

# On a registered model: its promotions, numbered; on a version: what became of it last.
PROMOTION = "promotion."
DECISION = "decision"
REASON = "reason"
PROMOTED_AT = "promoted_at"
PROMOTED_OVER = "promoted_over"
DEMOTED_AT = "demoted_at"
DEMOTED_BY = "demoted_by"

# Environment variable of steps whose registry is thrown away with the repetition they belong to: "true".
THROWAWAY_REGISTRY = "THROWAWAY_REGISTRY"

# Aliases of a registered model.
CANDIDATE = "candidate"
CHAMPION = "champion"

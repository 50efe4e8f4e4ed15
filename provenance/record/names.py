"""All names of tags, artifacts and runs that the engine writes to MLflow. A project has its own in steps/names.py."""

PREFIX = "lineage."

# What a run is. People can search for these tags in the UI: tags.`lineage.step` = 'hpo'.
# PROJECT names the project of a run (project_identity.py). Only runs of this project may be ended, changed or deleted.
PROJECT = PREFIX + "project"
STEP = PREFIX + "step"
KEY = PREFIX + "key"
CODE = PREFIX + "code"
COMMIT = PREFIX + "commit"
DIRTY = PREFIX + "dirty"
ENVIRONMENT = PREFIX + "environment"
ENVIRONMENT_FOLDER = PREFIX + "env_folder"
# URI and digest of what the run read and made, and the run ids of a chain's steps. run_tags.py writes and reads them.
INPUTS = PREFIX + "inputs"
MADE = PREFIX + "made"
STEPS = PREFIX + "steps"

# The digest of the recorded outputs. It is written last: a run without it has no usable outputs.
OUTPUTS = PREFIX + "outputs"
# The digest of the run's metrics without OF_THE_MOMENT and CURVES. It is written together with OUTPUTS.
METRICS = PREFIX + "metrics"
# On a run that did no work: the run whose outputs it reused.
REUSED = PREFIX + "reused"
# On a search and its trials: the digest of what a trial's result depends on. Searches with the same key share trials.
SEARCH_KEY = PREFIX + "search_key"
TRIAL = PREFIX + "trial"
TRIAL_RESULT = PREFIX + "trial_result"
# On a trial, if its user signs: the signature of its result. A run has it as the artifact SIGNATURE_FILE.
SIGNATURE = PREFIX + "signature"
ERROR = "error"  # of a trial that failed

# The process of a RUNNING run, its last heartbeat, and its place in the queue of runs with the same key. A run that has
# finished has none of them.
HOST = "alive.host"
PROCESS = "alive.process"
HEARTBEAT = "alive.beat"
TICKET = "alive.ticket"
ALIVE = (HOST, PROCESS, HEARTBEAT, TICKET)
# The queue of runs that may change the champion of one registered model. Only one of them does so at a time.
GATE = "gate.model"
GATE_TICKET = "gate.ticket"

# To filter and sort by in the UI.
FAMILY = "family"
CHAIN = "chain"

# A run of `reproduce` names the run that it repeated. The repeated run names each such run.
REPRODUCTION_OF = "reproduction.of"
REPRODUCTION_GRADE = "reproduction.grade"
REPRODUCED = "reproduced."
COMPARED_A = "compared.a"
COMPARED_B = "compared.b"
IMPACT_OF = "impact.of"

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
SIGNATURE_FILE = "lineage.dsse.json"
PATCH_FILE = "patch.diff"
DATASET = "dataset"
MODEL = "model"
SEARCH = "search"
ESTIMATOR = "estimator"
TRIALS_FILE = "trials.parquet"
TRACEBACK_FILE = "traceback.txt"
BEST_PARAMS_FILE = "best_params.json"
SPACE_FILE = "search_space.json"
CANDIDATES_FILE = "candidates.json"
VERSION = "version"
PLOTS = "plots"
REPORT_FILE = "report.md"
VERDICT_FILE = "verdict.json"
IMPACT_FILE = "impact.json"
IMPACT_PAGE = "impact.html"

# Metrics that describe the moment of the run and not its result, such as the metrics of the champion at that time.
# A repeated run has other values, so no verdict compares them. MLflow's own system metrics are among them.
OF_THE_MOMENT = ("system/", "gate/")
# Metrics that are curves: a search by trial, and a fit by round. MLflow draws them in sections of these names. The
# result is in other metrics, so no verdict compares curves, and a run that reuses another run does not copy them.
BY_TRIAL = "trials/"
BY_ROUND = "rounds/"
CURVES = (BY_TRIAL, BY_ROUND)
NOT_JUDGED = OF_THE_MOMENT + CURVES

# PROMOTION, with a number, is on a registered model: its promotions. The others are on a version: the last decision.
PROMOTION = "promotion."
DECISION = "decision"
# On a version: the run that registered it, and that of the search it came from.
REGISTERED_BY = "run_id"
SEARCH_RUN = "search_run_id"
REASON = "reason"
PROMOTED_AT = "promoted_at"
PROMOTED_OVER = "promoted_over"
DEMOTED_AT = "demoted_at"
DEMOTED_BY = "demoted_by"

# Environment variable: "true" for a step that repeats a run. Its registry is deleted when the repetition ends.
THROWAWAY_REGISTRY = "THROWAWAY_REGISTRY"

# Aliases of a registered model.
CANDIDATE = "candidate"
CHAMPION = "champion"

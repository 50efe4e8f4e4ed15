"""Every tag, metric, artifact and model name that is this project's own; provenance/record/names.py has the rest."""

# On a logged model: its features, the trial it comes of, and the splits it was fitted on.
FEATURES = "features"
TRIAL = "trial"
REFIT = "refit"
TAXI = "taxi"
TRAIN_MONTHS = "train_months"
VAL_MONTHS = "val_months"
TEST_MONTHS = "test_months"

# On a version: the months it was fitted on, and the trips it was judged on.
LEARNED_MONTHS = "learned_months"
CITY = "city"
TRIPS_KEPT = "trips_kept"
TEST_DATA = "test_data"

# Metrics of the gate, in milliseconds and minutes.
LATENCY_MS = "gate/latency_ms"
CHAMPION_RMSE = "gate/champion_test_rmse"
GAIN = "gate/gain"
GAIN_LOW = "gate/gain_low"

DRIFT_FILE = "report.json"
DECISION_FILE = "decision.json"

# The queue of refreshes of one registered model: only one of them looks, decides and retrains at a time.
REFRESH = "refresh.model"
REFRESH_TICKET = "refresh.ticket"

# Registered models, unless a run names another.
MODEL_NAME = "nyc-taxi-duration"
SAMPLE_MODEL_NAME = "nyc-taxi-duration-sample"

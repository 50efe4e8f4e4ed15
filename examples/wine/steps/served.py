from pathlib import Path

import mlflow
import pandas as pd


class Classifier(mlflow.pyfunc.PythonModel):
    """A registered model as MLflow loads it: measurements in, classes out. This file is its source."""

    def predict(self, context, model_input: pd.DataFrame, params=None) -> pd.DataFrame:
        from wine.classifier import FILE, predict

        files = {FILE: Path(context.artifacts["predictor"], "estimator", FILE).read_bytes()}
        return pd.DataFrame({"prediction": predict(files, model_input)}, index=model_input.index)


mlflow.models.set_model(Classifier())

"""The registered model as MLflow loads it: raw trips in, minutes out. Models-from-code: this file is its source.

It finds its data (fitted features, estimator) beside it in the model's artifacts; nothing is unpickled.
"""

import mlflow
import pandas as pd
from mlflow.exceptions import MlflowException


class TripDuration(mlflow.pyfunc.PythonModel):
    """Minutes from raw trips: PULocationID, DOLocationID, trip_distance in miles, pickup time (TLC's column names).

    Beside each duration the ends of an interval that holds 9 in 10 trips, where the model was registered with them, and
    a note of what was unknown: a zone that training did not have, a distance that cannot be.
    """

    def load_context(self, context) -> None:
        from taxi.models.predictor import Predictor

        self.predictor = Predictor.load(context.artifacts["predictor"])

    def predict(self, context, model_input: pd.DataFrame, params=None) -> pd.DataFrame:
        from taxi.features.fitting import FeatureError
        from taxi.models.predictor import PICKUP

        try:
            answer = self.predictor.answer(model_input)
        except FeatureError as error:  # a server answers 400 with this text, and with a traceback to anything else
            pickup = PICKUP[self.predictor.taxi]
            raise MlflowException.invalid_parameter_value(f"{error} The pickup time is column {pickup}.") from None
        # With their types: pandas would make text of notes, and NaN of None, which is no JSON.
        columns = {name: pd.Series(values, model_input.index, values.dtype) for name, values in answer.items()}
        return pd.DataFrame(columns)


mlflow.models.set_model(TripDuration())

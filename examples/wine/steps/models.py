from pathlib import Path

from provenance.registry.file_models import FileModels
from provenance.registry.logged_model import ModelSource
from search.file_objective import FileObjective
from steps.pipeline import CHOSEN_BY, PIPELINE
from wine.classifier import fit, predict, read_split, score


def models(folder: Path) -> FileModels:
    """The models of trials on the dataset in `folder`."""
    source = ModelSource(PIPELINE.root, "steps.served", ("wine",), ("mlflow", "pandas"), "classifier")
    return FileModels(source, folder, FileObjective(fit, score, CHOSEN_BY), read_split(folder, "train")[0][:2], predict)

"""sciml: PDE surrogates and PDE solvers under one configuration and one honest comparison.

The public names below are loaded when they are first used: `import sciml` costs little more
than `import torch`, and neither the training engine nor a tracker nor a plotting library comes
with it.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sciml.data.dataset import WindowedDataset, open_dataset
    from sciml.data.generate import generate
    from sciml.data.module import DataModule
    from sciml.data.normalizer import Normalizer
    from sciml.data.sources import open_source
    from sciml.domain import Box
    from sciml.models.lsm import LSM
    from sciml.models.neuralop import NeuralOperator
    from sciml.models.persistence import Persistence
    from sciml.nn.model import SurrogateModel
    from sciml.nn.spectral_conv import SpectralConv
    from sciml.spec import Batch, DatasetSpec, FieldSpec
    from sciml.training.checkpoint import load
    from sciml.training.fit import FitReport, fit
    from sciml.training.surrogate import Surrogate

_MODULE_OF = {
    "Batch": "sciml.spec",
    "Box": "sciml.domain",
    "DataModule": "sciml.data.module",
    "DatasetSpec": "sciml.spec",
    "FieldSpec": "sciml.spec",
    "FitReport": "sciml.training.fit",
    "LSM": "sciml.models.lsm",
    "NeuralOperator": "sciml.models.neuralop",
    "Normalizer": "sciml.data.normalizer",
    "Persistence": "sciml.models.persistence",
    "SpectralConv": "sciml.nn.spectral_conv",
    "Surrogate": "sciml.training.surrogate",
    "SurrogateModel": "sciml.nn.model",
    "WindowedDataset": "sciml.data.dataset",
    "fit": "sciml.training.fit",
    "generate": "sciml.data.generate",
    "load": "sciml.training.checkpoint",
    "open_dataset": "sciml.data.dataset",
    "open_source": "sciml.data.sources",
}

__all__ = [
    "LSM",
    "Batch",
    "Box",
    "DataModule",
    "DatasetSpec",
    "FieldSpec",
    "FitReport",
    "NeuralOperator",
    "Normalizer",
    "Persistence",
    "SpectralConv",
    "Surrogate",
    "SurrogateModel",
    "WindowedDataset",
    "fit",
    "generate",
    "load",
    "open_dataset",
    "open_source",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'sciml' has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

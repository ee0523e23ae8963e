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
    from sciml.linalg.kronecker import KroneckerOperator
    from sciml.linalg.kronecker_sum import KroneckerSumOperator
    from sciml.linalg.operator import LinearOperator
    from sciml.linalg.poisson import PoissonOperator
    from sciml.linalg.preconditioners.multigrid.ccmg import CCMG
    from sciml.linalg.solve import linear_solve
    from sciml.linalg.solvers.cg import CG
    from sciml.linalg.toeplitz import ToeplitzOperator
    from sciml.models.dcdm.learned_ccmg import LearnedCCMG
    from sciml.models.dcdm.solver import DCDM
    from sciml.models.gp_hm.solver import GPHMSolver
    from sciml.models.lsm import LSM
    from sciml.models.neuralop import NeuralOperator
    from sciml.models.persistence import Persistence
    from sciml.nn.fno import FNO
    from sciml.nn.model import SurrogateModel
    from sciml.nn.spectral_conv import SpectralConv
    from sciml.pde.problem import Problem
    from sciml.solution import Solution, SolverError, Status
    from sciml.solvers.base import solve
    from sciml.solvers.collocation import ChebyshevCollocation
    from sciml.spec import Batch, DatasetSpec, FieldSpec
    from sciml.training.checkpoint import load
    from sciml.training.fit import FitReport, fit
    from sciml.training.surrogate import Surrogate

_MODULE_OF = {
    "Batch": "sciml.spec",
    "Box": "sciml.domain",
    "CCMG": "sciml.linalg.preconditioners.multigrid.ccmg",
    "CG": "sciml.linalg.solvers.cg",
    "DCDM": "sciml.models.dcdm.solver",
    "ChebyshevCollocation": "sciml.solvers.collocation",
    "DataModule": "sciml.data.module",
    "DatasetSpec": "sciml.spec",
    "FNO": "sciml.nn.fno",
    "FieldSpec": "sciml.spec",
    "FitReport": "sciml.training.fit",
    "GPHMSolver": "sciml.models.gp_hm.solver",
    "KroneckerOperator": "sciml.linalg.kronecker",
    "KroneckerSumOperator": "sciml.linalg.kronecker_sum",
    "LSM": "sciml.models.lsm",
    "LearnedCCMG": "sciml.models.dcdm.learned_ccmg",
    "LinearOperator": "sciml.linalg.operator",
    "NeuralOperator": "sciml.models.neuralop",
    "Normalizer": "sciml.data.normalizer",
    "Persistence": "sciml.models.persistence",
    "PoissonOperator": "sciml.linalg.poisson",
    "Problem": "sciml.pde.problem",
    "Solution": "sciml.solution",
    "SolverError": "sciml.solution",
    "SpectralConv": "sciml.nn.spectral_conv",
    "Status": "sciml.solution",
    "Surrogate": "sciml.training.surrogate",
    "SurrogateModel": "sciml.nn.model",
    "ToeplitzOperator": "sciml.linalg.toeplitz",
    "WindowedDataset": "sciml.data.dataset",
    "fit": "sciml.training.fit",
    "generate": "sciml.data.generate",
    "linear_solve": "sciml.linalg.solve",
    "load": "sciml.training.checkpoint",
    "open_dataset": "sciml.data.dataset",
    "open_source": "sciml.data.sources",
    "solve": "sciml.solvers.base",
}

__all__ = [
    "CCMG",
    "CG",
    "DCDM",
    "FNO",
    "LSM",
    "Batch",
    "Box",
    "ChebyshevCollocation",
    "DataModule",
    "DatasetSpec",
    "FieldSpec",
    "FitReport",
    "GPHMSolver",
    "KroneckerOperator",
    "KroneckerSumOperator",
    "LearnedCCMG",
    "LinearOperator",
    "NeuralOperator",
    "Normalizer",
    "Persistence",
    "PoissonOperator",
    "Problem",
    "Solution",
    "SolverError",
    "SpectralConv",
    "Status",
    "Surrogate",
    "SurrogateModel",
    "ToeplitzOperator",
    "WindowedDataset",
    "fit",
    "generate",
    "linear_solve",
    "load",
    "open_dataset",
    "open_source",
    "solve",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'sciml' has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

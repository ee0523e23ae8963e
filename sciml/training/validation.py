"""How good a model is at the end of an epoch."""

from abc import ABC, abstractmethod
from typing import final

from torch import Tensor
from typing_extensions import override

from sciml.metrics.spatial import relative_l2
from sciml.spec import Batch, DatasetSpec
from sciml.training.normalized import NormalizedModel


class Validation(ABC):
    """An error of each validation sample; the smaller the mean, the better the model."""

    @abstractmethod
    def name(self, spec: DatasetSpec) -> str:
        """Name of the error in the log, after ``valid/``."""

    @abstractmethod
    def errors(self, model: NormalizedModel, batch: Batch) -> Tensor:
        """The error of each sample of a batch, (b,)."""


@final
class RelativeL2(Validation):
    """Error of a rollout where outputs can be fed back, else of one application."""

    @override
    def name(self, spec: DatasetSpec) -> str:
        return f"{'rollout_' if spec.autoregressive else ''}relative_l2"

    @override
    def errors(self, model: NormalizedModel, batch: Batch) -> Tensor:
        if batch.targets is None:
            raise ValueError(
                "fit: expected validation batches with targets, got none; take an objective "
                "that needs none"
            )
        params = model.usable(batch.params)
        if model.spec.autoregressive:
            prediction = model.rollout(batch.inputs, batch.targets.shape[1], params=params)
        else:
            prediction = model(batch.inputs, params=params).unsqueeze(1)
        return relative_l2(prediction, batch.targets[:, : prediction.shape[1]])

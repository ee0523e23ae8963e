"""Normalisation around a network: physical units outside, normalised inside."""

import difflib
from typing import Any, Literal, Protocol, TypeAlias, final, get_args, runtime_checkable

from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from sciml.data.normalizer import Normalizer
from sciml.data.statistics import DataStatistics
from sciml.nn.model import SurrogateModel
from sciml.spec import DatasetSpec
from sciml.training.rollout import rollout

NormalizerKind: TypeAlias = Literal["zscore", "rms", "minmax", "none"]


@runtime_checkable
class TrainingStatistics(Protocol):
    """The part of a data module that normalisation needs."""

    @property
    def spec(self) -> DatasetSpec:
        """Self-description of the data, history included."""
        ...

    def statistics(self, *, per_point: bool = False) -> DataStatistics:
        """Statistics of the training split, of each channel or of each point."""
        ...


def check_normalization(
    spec: DatasetSpec,
    *,
    kind: str = "zscore",
    prediction: str | None = None,
    scope: str = "channel",
) -> str:
    """Compare a normalisation with a data set, before any of its data are read.

    Args:
        spec: Self-description of the data set.
        kind: ``"zscore"``, ``"rms"``, ``"minmax"`` or ``"none"``.
        prediction: ``"increment"``, ``"field"`` or None, as for `NormalizedModel.from_data`.
        scope: ``"channel"`` or ``"point"``.

    Returns:
        The prediction that is meant.

    Raises:
        ValueError: On an unknown kind, scope or prediction, or if increments are asked of a
            data set whose outputs cannot be fed back.
    """
    for name, value, valid in (
        ("kind", kind, get_args(NormalizerKind)),
        ("prediction", prediction or "field", ("increment", "field")),
        ("scope", scope, ("channel", "point")),
    ):
        if value not in valid:
            near = difflib.get_close_matches(str(value), valid, n=1, cutoff=0.0)[0]
            raise ValueError(
                f"check_normalization: expected {name} among {list(valid)}, got {value!r}; "
                f"did you mean {near!r}?"
            )
    if prediction is None:
        prediction = "increment" if spec.autoregressive else "field"
    if prediction == "increment" and not spec.autoregressive:
        raise ValueError(
            f"check_normalization: {_mismatch(spec)}; use prediction='field'",
        )
    if scope == "point" and spec.unstructured:
        raise ValueError(
            f"check_normalization: expected a grid for statistics of each point, got the point "
            f"clouds of {spec.name!r}; use scope='channel'"
        )
    return prediction


def _mismatch(spec: DatasetSpec) -> str:
    return (
        f"expected a data set that predicts the fields it reads, got {spec.name!r} with inputs "
        f"{[f.name for f in spec.in_fields]}, outputs {[f.name for f in spec.out_fields]} and "
        f"dt={spec.dt}"
    )


def _keep_tensors(
    module: nn.Module, state: dict[str, Any], prefix: str, local_metadata: dict[str, Any]
) -> None:
    """Drop the plain dictionaries that some libraries put among the tensors of a state."""
    for name in [name for name, value in state.items() if not isinstance(value, Tensor)]:
        del state[name]


@final
class NormalizedModel(nn.Module):
    r"""A network with its normalisers, in physical units on both sides.

    With the input normaliser N, the output normaliser M and the newest input frame u_last,

    .. math:: F(u) = M^{-1}(f(N(u))) \quad\text{or}\quad F(u) = u_\text{last} + M^{-1}(f(N(u)))

    The second form lets the network predict what changes between two frames, which is small and
    smoother than the field, and makes the identity the prediction of a zero network.

    Args:
        network: Model f on normalised fields.
        inputs: Normaliser N of one frame; it is applied to every frame of the history.
        outputs: Normaliser M of one output frame, or of one increment.
        increment: Whether the network predicts the increment.
        spec: Self-description of the data set, history included.

    Raises:
        ValueError: If the network's channels are not the data set's, or increments are asked of
            a data set whose outputs are not the fields that it reads.
    """

    def __init__(
        self,
        network: SurrogateModel,
        inputs: Normalizer,
        outputs: Normalizer,
        *,
        increment: bool,
        spec: DatasetSpec,
    ) -> None:
        super().__init__()
        expected = (spec.in_channels, spec.out_channels)
        if (network.in_channels, network.out_channels) != expected:
            raise ValueError(
                f"NormalizedModel: expected a network with {expected[0]} input and "
                f"{expected[1]} output channels for data set {spec.name!r} (history "
                f"{spec.history}), got {network.in_channels} and {network.out_channels}; build "
                "it with from_spec"
            )
        if increment and not spec.autoregressive:
            raise ValueError(f"NormalizedModel: {_mismatch(spec)}; use prediction='field'")
        network.check_spec(spec)
        self.network = network
        self.inputs = inputs
        self.outputs = outputs
        self.increment = increment
        self.spec = spec
        self.register_state_dict_post_hook(_keep_tensors)  # type: ignore[no-untyped-call]  # untyped in torch

    @classmethod
    def from_data(
        cls,
        network: SurrogateModel,
        data: TrainingStatistics,
        *,
        kind: str = "zscore",
        prediction: str | None = None,
        scope: str = "channel",
    ) -> "NormalizedModel":
        """Wrap a network with statistics of the training split.

        A network without parameters, such as persistence, speaks physical units and predicts
        the field: it gets no normalisation, whatever is asked for.

        Args:
            network: Model on normalised fields.
            data: Data module (or anything with its `spec` and `statistics()`).
            kind: Normalisation of each channel; ``"none"`` reads no statistics.
            prediction: ``"increment"`` or ``"field"``; None takes increments where outputs can
                be fed back, else the field.
            scope: Statistics of each ``"channel"``, or of each ``"point"`` of it; the latter
                ties the model to the grid.

        Raises:
            ValueError: As `check_normalization` does.
        """
        spec = data.spec
        if not any(True for _ in network.parameters()):
            kind, prediction = "none", "field"
        prediction = check_normalization(spec, kind=kind, prediction=prediction, scope=scope)
        increment = prediction == "increment"
        if kind == "none":
            inputs = Normalizer(spec.frame_channels, kind="none")
            outputs = Normalizer(spec.out_channels, kind="none")
        else:
            statistics = data.statistics(per_point=scope == "point")
            space = spec.resolution if scope == "point" else ()
            inputs = Normalizer.from_statistics(statistics.field, kind, space)
            target = statistics.increment if increment else None
            outputs = Normalizer.from_statistics(target or statistics.output, kind, space)
        return cls(network, inputs, outputs, increment=increment, spec=spec)

    @property
    def accepts_params(self) -> bool:
        """Whether the network uses PDE parameters."""
        return self.network.accepts_params

    def usable(self, params: Tensor | None) -> Tensor | None:
        """The parameters of a batch for a network that uses them, None for one that does not.

        Training and evaluation read parameters from the data, where a network that ignores them
        is a legitimate baseline; a caller who hands them over by himself gets an error instead.
        """
        return params if self.accepts_params else None

    @override
    def forward(
        self,
        u: Float[Tensor, "b c_in *space"],
        *,
        params: Float[Tensor, "b p"] | None = None,
    ) -> Float[Tensor, "b c_out *space"]:
        """Predict the next frame, in physical units and in the dtype of the input.

        Raises:
            ValueError: If the network cannot use the input (`SurrogateModel.check_input`).
            TypeError: On a dtype or device other than the network's.
        """
        self.network.check_input(u, params)
        output = self.outputs.inverse(self.network(self.inputs(u), params=params))
        if self.increment:
            output = u[:, u.shape[1] - output.shape[1] :] + output
        return output.to(u.dtype)

    def rollout(
        self,
        u: Float[Tensor, "b c_in *space"],
        num_steps: int,
        *,
        params: Float[Tensor, "b p"] | None = None,
    ) -> Float[Tensor, "b t c *space"]:
        """Predict `num_steps` frames autoregressively, without the initial ones.

        Raises:
            ValueError: If the outputs cannot be fed back as inputs.
        """
        if not self.spec.autoregressive:
            raise ValueError(
                "rollout: expected a model whose outputs can be fed back as inputs, got one "
                f"of data set {self.spec.name!r}, which has no time step or predicts other "
                "fields than it reads; apply the model once instead"
            )
        return rollout(self, u, num_steps, params=params)

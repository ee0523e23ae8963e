"""What a data set says about itself, and the batch that it hands to a model.

Every layer above may read these; channel counts, dimension, resolution and periodicity are
written nowhere else.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, final

import torch
from jaxtyping import Float, Int, Num, Shaped
from torch import Tensor

from sciml.domain import Box, GridKind


@final
@dataclass(frozen=True)
class FieldSpec:
    """One physical field.

    Args:
        name: The field's name in the file, e.g. ``"vorticity"``.
        rank: Tensor rank: 0 scalar, 1 vector, 2 tensor.
        components: Number of channels: 1, d or d² for ranks 0, 1, 2.
        units: Units as text, empty when unknown.
    """

    name: str
    rank: int = 0
    components: int = 1
    units: str = ""


@final
@dataclass(frozen=True)
class DatasetSpec:
    """Self-description of a data set: everything that a model has to know to fit it.

    Args:
        name: Data set name in snake_case.
        domain: Box with named axes, extents and periodicity.
        resolution: Grid points per axis, in the order of ``domain.axes``.
        in_fields: Fields that a model reads, in channel order.
        out_fields: Fields that a model predicts, in channel order.
        params: Names of the scalar PDE parameters, in the order of ``Batch.params``.
        grid: ``"vertex"`` or ``"cell"`` per axis; all vertex by default.
        dt: Time between consecutive frames in physical units; None for a steady data set.
        history: Frames h that a model reads; inputs have ``h * sum(components)`` channels,
            oldest frame first.
        constants: Values of the scalar parameters that do not vary over the data set.
        unstructured: Whether samples are point clouds. `resolution` is then the largest number
            of points, `domain` a box around them, and `grid` is empty.
    """

    name: str
    domain: Box
    resolution: tuple[int, ...]
    in_fields: tuple[FieldSpec, ...]
    out_fields: tuple[FieldSpec, ...]
    params: tuple[str, ...] = ()
    grid: tuple[GridKind, ...] = ()
    dt: float | None = None
    history: int = 1
    constants: Mapping[str, float] = field(default_factory=dict)
    unstructured: bool = False

    def __post_init__(self) -> None:
        if self.unstructured:
            if len(self.resolution) != 1 or self.grid:
                raise ValueError(
                    "DatasetSpec: expected one number of points and no grid kinds of point "
                    f"clouds, got resolution={self.resolution}, grid={self.grid}"
                )
            return
        if not self.grid:
            object.__setattr__(self, "grid", ("vertex",) * self.domain.ndim)
        if not len(self.resolution) == len(self.grid) == self.domain.ndim:
            raise ValueError(
                "DatasetSpec: expected one resolution and grid kind per axis "
                f"{self.domain.axes}, got resolution={self.resolution}, grid={self.grid}"
            )

    @property
    def axes(self) -> tuple[str, ...]:
        """Names of the spatial axes."""
        return self.domain.axes

    @property
    def periodic(self) -> tuple[bool, ...]:
        """Periodicity per axis."""
        return self.domain.periodic

    @property
    def ndim(self) -> int:
        """Number of spatial axes d."""
        return self.domain.ndim

    @property
    def frame_channels(self) -> int:
        """Channels of one input frame."""
        return sum(f.components for f in self.in_fields)

    @property
    def in_channels(self) -> int:
        """Channels c_in of a model input: history times the channels of one frame."""
        return self.history * self.frame_channels

    @property
    def out_channels(self) -> int:
        """Channels c_out of a model output (one frame)."""
        return sum(f.components for f in self.out_fields)

    @property
    def paired(self) -> bool:
        """Whether samples are pairs of input and output fields rather than windows in time."""
        return self.in_fields != self.out_fields

    @property
    def autoregressive(self) -> bool:
        """Whether outputs can be fed back as inputs, so that a rollout is defined."""
        return self.dt is not None and not self.paired

    def at(self, resolution: tuple[int, ...]) -> "DatasetSpec":
        """The same data set on another grid."""
        return replace(self, resolution=resolution)

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionary for JSON; inverse of `from_dict`."""
        data = asdict(self)
        data["constants"] = dict(self.constants)
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "DatasetSpec":
        """Rebuild a spec from `to_dict` (also after a round trip through JSON)."""
        values = dict(data)
        box = {k: tuple(v) for k, v in values.pop("domain").items()}
        fields_in = tuple(FieldSpec(**f) for f in values.pop("in_fields"))
        fields_out = tuple(FieldSpec(**f) for f in values.pop("out_fields"))
        for key in ("resolution", "params", "grid"):
            values[key] = tuple(values[key])
        return cls(domain=Box(**box), in_fields=fields_in, out_fields=fields_out, **values)


@final
@dataclass(frozen=True)
class Batch:
    """A batch in physical units, channels first.

    Args:
        inputs: History of h frames, oldest first, flattened into channels.
        targets: The following frames; a steady data set has one.
        params: Scalar PDE parameters, in the order of ``DatasetSpec.params``.
        static: Fields without time axis.
        coords: Coordinates of a point cloud.
        mask: True where a point counts.
        boundary: Code of the low and high face of each axis: 0 wall, 1 open, 2 periodic.
        times: Physical time of the last input frame and of each target frame.
        index: Trajectory number and first frame of each sample.
    """

    inputs: Float[Tensor, "b c_in *space"]
    targets: Float[Tensor, "b t c_out *space"] | None = None
    params: Float[Tensor, "b p"] | None = None
    static: Float[Tensor, "b c_static *space"] | None = None
    coords: Float[Tensor, "b n d"] | None = None
    mask: Shaped[Tensor, "b *space"] | None = None
    boundary: Int[Tensor, "b d 2"] | None = None
    times: Num[Tensor, "b t1"] | None = None
    index: Int[Tensor, "b 2"] | None = None

    def to(
        self,
        device: torch.device | str,
        dtype: torch.dtype | None = None,
        *,
        non_blocking: bool = False,
    ) -> "Batch":
        """The batch on another device; `dtype` converts floating-point members only."""
        moved: dict[str, Any] = {}
        for item in fields(self):
            value: Tensor | None = getattr(self, item.name)
            if value is not None:
                floating = dtype if value.is_floating_point() else None
                value = value.to(device=device, dtype=floating, non_blocking=non_blocking)
            moved[item.name] = value
        return replace(self, **moved)

    def __len__(self) -> int:
        """Number of samples b."""
        return self.inputs.shape[0]

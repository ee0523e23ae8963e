"""The base of every surrogate model: input checks and remembered constructor arguments."""

import inspect
from abc import ABC, abstractmethod
from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from sciml.spec import DatasetSpec


class SurrogateModel(nn.Module, ABC):
    """A network from (b, c_in, *space) to (b, c_out, *space) that can be saved and rebuilt.

    Constructor arguments are remembered in `arguments` (plain JSON values), so that a saved
    surrogate names its class and arguments and needs no configuration to be built again.

    Args:
        in_channels: Channels c_in of the input (history times fields).
        out_channels: Channels c_out of the output (one frame).
        ndim: Number of spatial axes d that the network works on; None for any.
    """

    accepts_params: ClassVar[bool] = False
    """Whether `forward` uses PDE parameters; others refuse them."""
    accepts_coords: ClassVar[bool] = False
    """Whether `forward` works on point clouds given by coordinates."""

    arguments: dict[str, Any]

    def __new__(cls, *args: Any, **kwargs: Any) -> "SurrogateModel":
        """Record the constructor arguments, defaults included."""
        instance = super().__new__(cls)
        bound = inspect.signature(cls.__init__).bind_partial(instance, *args, **kwargs)
        bound.apply_defaults()
        values = dict(bound.arguments)
        values.pop("self", None)
        object.__setattr__(instance, "arguments", values)
        return instance

    def __init__(self, in_channels: int, out_channels: int, ndim: int | None = None) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.ndim = ndim

    @classmethod
    @abstractmethod
    def from_spec(cls, spec: DatasetSpec) -> "SurrogateModel":
        """Build the model that fits a data set; subclasses add their hyper-parameters.

        Raises:
            ValueError: If the model cannot represent such data, in words.
        """

    @override
    @abstractmethod
    def forward(
        self,
        u: Float[Tensor, "b c_in *space"],
        *,
        params: Float[Tensor, "b p"] | None = None,
        coords: Float[Tensor, "b n d"] | None = None,
    ) -> Float[Tensor, "b c_out *space"]:
        """Map input channels to output channels on the same grid."""

    def check_spec(self, spec: DatasetSpec) -> None:
        """Raise ValueError, in words, for a data set that the model cannot take."""
        if spec.unstructured and not self.accepts_coords:
            raise ValueError(
                f"{type(self).__name__}: expected fields on a grid, got {spec.name!r}, whose "
                "samples are point clouds; choose a model that takes coordinates, or a data "
                "set on a grid"
            )

    def check_resolution(self, space: tuple[int, ...]) -> None:
        """Raise ValueError, in words, for a grid that the model cannot take."""

    def check_input(
        self, u: Tensor, params: Tensor | None = None, coords: Tensor | None = None
    ) -> None:
        """Compare an input with what the model was built for.

        Raises:
            ValueError: On a wrong number of channels or axes, a grid that the model cannot
                take, or parameters or coordinates that it cannot use.
            TypeError: On a dtype or device other than the parameters'.
        """
        name = type(self).__name__
        expected_axes = (
            f"{self.ndim} spatial axes" if self.ndim else "at least one spatial axis"
        )
        if u.ndim < 3 or (self.ndim is not None and u.ndim != self.ndim + 2):
            raise ValueError(
                f"{name}: expected input of shape (batch, {self.in_channels}, *space) with "
                f"{expected_axes}, got {tuple(u.shape)}; add or remove axes"
            )
        if u.shape[1] != self.in_channels:
            raise ValueError(
                f"{name}: expected {self.in_channels} input channels, got {u.shape[1]} in "
                f"shape {tuple(u.shape)}; pass the fields and history it was trained on"
            )
        if not u.is_floating_point():
            raise TypeError(
                f"{name}: expected a floating-point input, got {u.dtype}; convert it first"
            )
        reference = next(self.parameters(), None)
        if reference is not None and u.dtype != reference.dtype:
            raise TypeError(
                f"{name}: expected dtype {reference.dtype}, got {u.dtype}; "
                "convert the input or the model with .to()"
            )
        if reference is not None and u.device != reference.device:
            raise TypeError(
                f"{name}: expected an input on {reference.device}, got {u.device}; "
                "move one of them with .to()"
            )
        if params is not None and not self.accepts_params:
            raise ValueError(
                f"{name}: got params, but this model uses no PDE parameters; leave them out"
            )
        if coords is not None and not self.accepts_coords:
            raise ValueError(
                f"{name}: got coords, but this model works on grids; leave them out"
            )
        self.check_resolution(tuple(u.shape[2:]))

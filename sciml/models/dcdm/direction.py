"""A network as a map from residuals to search directions of one operator."""

from collections.abc import Callable
from typing import TypeAlias, final

import torch
from torch import Tensor
from typing_extensions import override

from sciml.linalg.operator import LinearOperator
from sciml.linalg.poisson import PoissonOperator
from sciml.linalg.preconditioners.base import FixedPreconditioner
from sciml.nn.model import SurrogateModel
from sciml.simulate.poisson_samples import mask_channels
from sciml.training.normalized import NormalizedModel
from sciml.training.surrogate import Surrogate

Network: TypeAlias = Surrogate | NormalizedModel | SurrogateModel
Direction: TypeAlias = Network | LinearOperator | Callable[[Tensor], Tensor]
"""A network; or any map of residuals (*batch, *space), linear or not."""


@final
class NetworkDirection(FixedPreconditioner):
    """f(r / ‖r‖) on the fluid and without null vectors, one network call for all right sides.

    It takes the place of a preconditioner in a method that does not need a linear one. The
    residual is normalised and rounded to the precision of the network.

    Args:
        model: The net, perhaps within normalisers.
        operator: The system that it serves.

    Raises:
        ValueError: If the net has another number of axes, cannot take the grid, or wants masks
            of an operator that has none.
        TypeError: If net and operator live on different devices.
    """

    def __init__(
        self, model: NormalizedModel | SurrogateModel, operator: LinearOperator
    ) -> None:
        super().__init__(operator.in_shape, dtype=operator.dtype, device=operator.device)
        space = operator.in_shape
        network = model.network if isinstance(model, NormalizedModel) else model
        if network.ndim != len(space) or operator.batch_shape:
            raise ValueError(
                f"DCDM: expected one geometry with {network.ndim} axes, as the net was built "
                f"for, got {operator!r}; load a net for {len(space)} axes, and solve the "
                "systems of a batch of geometries one by one"
            )
        network.check_resolution(space)
        parameter = next(network.parameters())
        if parameter.device != operator.device:
            raise TypeError(
                f"DCDM: expected the net on {operator.device}, got it on {parameter.device}; "
                "move one of them with .to()"
            )
        self.model = model
        self.operator = operator
        self._network_dtype = parameter.dtype
        self._masks = None if network.in_channels == 1 else self._mask_channels(operator)

    def _mask_channels(self, operator: LinearOperator) -> Tensor:
        if not isinstance(operator, PoissonOperator):
            raise ValueError(
                f"DCDM: expected a PoissonOperator, whose flags the net reads as masks, got "
                f"{operator!r}; use the net without masks"
            )
        return mask_channels(operator.flags[None, None].to(self._network_dtype))

    @override
    def _mv(self, x: Tensor) -> Tensor:
        fields = x.reshape(-1, 1, *self.in_shape)
        norms = fields.flatten(1).norm(dim=1).reshape(-1, *(1,) * (fields.ndim - 1))
        inputs = (fields / norms.clamp_min(torch.finfo(x.dtype).tiny)).to(self._network_dtype)
        if self._masks is not None:
            inputs = torch.cat(
                [inputs, self._masks.expand(len(inputs), *self._masks.shape[1:])], 1
            )
        with torch.no_grad():
            outputs = self.model(inputs).to(x.dtype)
        if isinstance(self.operator, PoissonOperator):
            outputs = outputs * self.operator.fluid
        directions = self.operator.project(outputs[:, 0])
        # what is left of a null vector is rounding, which no line search should follow
        rounding = 32 * torch.finfo(self._network_dtype).eps
        size = directions.flatten(1).norm(dim=1)
        lost = size <= rounding * outputs.flatten(1).norm(dim=1)
        scale = torch.where(lost, 0.0, 1 / torch.where(lost, 1.0, size))
        return (directions * scale.reshape(-1, *(1,) * (directions.ndim - 1))).reshape(x.shape)


@final
class FunctionDirection(FixedPreconditioner):
    """Any map of residuals in the place of a preconditioner; what it returns is projected.

    Args:
        function: Fields (*batch, *space) to fields of the same shape, of any real precision.
        operator: The system that it serves.

    Raises:
        TypeError: When it is applied, if what the map returns is no real tensor.
        ValueError: When it is applied, if what the map returns has another shape.
    """

    def __init__(self, function: Callable[[Tensor], object], operator: LinearOperator) -> None:
        super().__init__(operator.in_shape, dtype=operator.dtype, device=operator.device)
        self.function = function
        self.operator = operator

    @override
    def _mv(self, x: Tensor) -> Tensor:
        q = self.function(x)
        if not isinstance(q, Tensor) or not q.is_floating_point():
            got = q.dtype if isinstance(q, Tensor) else type(q).__name__
            raise TypeError(
                "DCDM: expected a direction that maps a residual to a real floating-point "
                f"tensor, got {got}; return a tensor like the one it is called with"
            )
        if q.shape != x.shape:
            raise ValueError(
                f"DCDM: expected a direction of the shape of the residual {tuple(x.shape)}, "
                f"got {tuple(q.shape)}; fields keep their axes"
            )
        return self.operator.project(q.to(x.dtype))


def as_direction(direction: Direction, operator: LinearOperator) -> LinearOperator:
    """The map from residuals to directions for one operator.

    Raises:
        ValueError: If a network does not fit the operator.
        TypeError: If `direction` is nothing that maps residuals.
    """
    if isinstance(direction, LinearOperator):
        return direction
    if isinstance(direction, Surrogate):
        direction = direction.model
    if isinstance(direction, NormalizedModel | SurrogateModel):
        return NetworkDirection(direction, operator)
    return FunctionDirection(direction, operator)

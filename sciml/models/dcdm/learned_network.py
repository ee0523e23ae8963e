"""The network of learned CCMG: three small perceptrons that set the weights of a multigrid."""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from sciml.linalg.poisson import PoissonOperator
from sciml.models.dcdm.learned_coarsest import CoarseWeights, coarsest_solve
from sciml.models.dcdm.learned_cycle import (
    CycleLevel,
    MultigridCycle,
    Product,
    graph_product,
    sums_over,
    symmetric_product,
)
from sciml.models.dcdm.learned_features import NUM_FEATURES, DistinctRows
from sciml.models.dcdm.learned_hierarchy import (
    CoarseGraph,
    FinestNodes,
    Hierarchy,
    hierarchy_of_flags,
    join,
)
from sciml.nn.model import SurrogateModel
from sciml.spec import DatasetSpec

GEOMETRY_FIELDS = ("residual", "flags")

_WIDTH = 16
_FIRST_SCALE = 0.05
_LOW, _HIGH = 0.5, 2.0
"""Eigenvalues of D⁻¹ A that the smoother damps; 2 bounds them for any graph."""
_RELAXATION_RANGE, _GAIN_RANGE = 0.7, 0.35


class Smoothing(NamedTuple):
    """Relaxations of a level, step by step, and the gain of its transfers."""

    fields: tuple[Tensor, ...]
    gain: Tensor


@final
class LearnedCCMGNet(SurrogateModel):
    r"""CCMG whose coarse conductances, smoother and transfers depend on the local geometry.

    With features φ of an edge, a link to air or a node (`learned_features`), shared by all
    levels, the classical conductance w and diagonal D, and three perceptrons 5-16-16:

    .. math::
        w_e &\gets w_e \exp(\tanh u_\text{edge}(\phi_e)), \quad
            \text{links alike, both on coarse levels alone} \\
        \omega_j &= \bar\omega_j \exp(\theta_j + 0.7 \tanh u_j(\phi)) / D, \quad
            g = \exp(0.35 \tanh u_g(\phi))

    where ω̄_j are the classical relaxations, θ_j numbers of the finest and of all other levels.
    Coarse operators stay graph Laplacians for any parameters, the smoother after the correction
    runs backwards and the gain stands on both sides, so the map of the residual is symmetric by
    construction. Perceptrons that return zero give the classical cycle, to the last bit.

    Args:
        ndim: Number of spatial axes; the same parameters make sense for 2 and 3, but each wants
            its own training.
        degree: Products with A of the smoothing before, and as many after, the correction.
        smoother: ``"red_black"``: `degree` sweeps, starting from Gauss-Seidel's as in `CCMG`,
            with the relaxation of all half sweeps but the last learned; at equal cost the
            better one. ``"polynomial"``: `degree` steps in D⁻¹ A, starting from Chebyshev's on
            [½, 2].
        num_visits: 1 for the V-cycle, 2 for the W-cycle.

        Degree 2 has 1,212 parameters; with the polynomial smoother 1,193, and degree 3 then
        has 1,212.

    Raises:
        ValueError: If a number is out of range.

    Source: specification and measurements of this package; the red-black order: Trottenberg,
    Oosterlee and Schüller, Multigrid (2001), section 2.1; learned coarse operators: Luz, Galun,
    Maron, Basri and Yavneh, ICML 2020, arXiv:2003.05744.
    """

    def __init__(
        self,
        ndim: int,
        *,
        degree: int = 2,
        smoother: str = "red_black",
        num_visits: int = 2,
    ) -> None:
        super().__init__(len(GEOMETRY_FIELDS), 1, ndim)
        if ndim not in (2, 3) or degree < 1 or num_visits not in (1, 2):
            raise ValueError(
                "LearnedCCMGNet: expected ndim 2 or 3, degree >= 1 and num_visits 1 or 2, got "
                f"{ndim}, {degree} and {num_visits}; correct them"
            )
        if smoother not in ("polynomial", "red_black"):
            raise ValueError(
                "LearnedCCMGNet: expected smoother 'polynomial' or 'red_black', got "
                f"{smoother!r}; choose one of them"
            )
        self.degree, self.smoother, self.num_visits = degree, smoother, num_visits
        self.classical_steps = [1.0] * (2 * degree - 1)
        if smoother == "polynomial":
            self.classical_steps = chebyshev_steps(degree)
        num_learned = len(self.classical_steps)
        self.log_relaxation = nn.Parameter(torch.zeros(2, num_learned))
        self.edge, self.link = _perceptron(1), _perceptron(1)
        self.node = _perceptron(num_learned + 1)

    @classmethod
    @override
    def from_spec(
        cls,
        spec: DatasetSpec,
        *,
        degree: int = 2,
        smoother: str = "red_black",
        num_visits: int = 2,
    ) -> "LearnedCCMGNet":
        """Build the net for Poisson systems on varying geometries.

        Raises:
            ValueError: If the samples are something else.
        """
        fields = tuple(field.name for field in spec.in_fields)
        if fields != GEOMETRY_FIELDS:
            raise ValueError(
                f"LearnedCCMGNet: expected right-hand sides with cell flags, the fields "
                f"{list(GEOMETRY_FIELDS)}, got {spec.name!r} with the fields {list(fields)}; "
                "choose a data set of geometries"
            )
        return cls(spec.ndim, degree=degree, smoother=smoother, num_visits=num_visits)

    @override
    def forward(
        self,
        u: Float[Tensor, "b c_in *space"],
        *,
        params: Float[Tensor, "b p"] | None = None,
        coords: Float[Tensor, "b n d"] | None = None,
    ) -> Float[Tensor, "b 1 *space"]:
        """M r: the preconditioner of each geometry applied to its residual.

        Args:
            u: Residuals, and cell flags (0 or 1 solid, 2 fluid, 3 air) as numbers.
            params: Must be None.
            coords: Must be None.

        Raises:
            ValueError: On wrong channels or axes, flags out of range, parameters, coordinates.
            TypeError: On a dtype or device other than the network's.
        """
        self.check_input(u, params, coords)
        operator = PoissonOperator(
            u[:, 1].round().to(torch.uint8), num_axes=u.ndim - 2, dtype=u.dtype
        )
        r = u[:, 0] * operator.fluid
        z: Tensor = self.cycle(operator)(r.reshape(-1)).reshape(u[:, :1].shape)
        return z

    def cycle(self, operator: PoissonOperator) -> MultigridCycle:
        """The differentiable cycle of a batch of geometries on unit cells.

        Args:
            operator: Geometries along one batch axis; the dtype of the net.
        """
        flags = operator.flags.cpu().numpy()
        parts = [hierarchy_of_flags(f.tobytes(), f.shape, operator.dtype) for f in flags]
        whole = _to_device(join(parts), operator.device)
        return self.cycle_of(whole, operator)

    def cycle_of(self, levels: Hierarchy, operator: PoissonOperator) -> MultigridCycle:
        """The differentiable cycle of a hierarchy whose finest level is the operator."""
        cells = levels.finest.cells
        weights, smoothing = self.evaluate(levels, operator.diagonal().reshape(-1)[cells])
        zeros = operator.diagonal().new_zeros(levels.num_cells)
        on_grid = Smoothing(
            tuple(zeros.index_copy(0, cells, field) for field in smoothing[0].fields),
            zeros.index_copy(0, cells, smoothing[0].gain),
        )
        products: list[Product] = [lambda x: symmetric_product(operator, x)]
        products += [
            functools.partial(
                graph_product,
                weight=own.edges,
                diagonal=own.diagonal,
                ends=(graph.lower, graph.upper),
            )
            for graph, own in zip(levels.coarse[:-1], weights[:-1], strict=True)
        ]
        cycle_levels = [
            CycleLevel(product, own.fields, own.gain, *sums_over(g.aggregate, g.num_nodes))
            for product, own, g in zip(
                products, [on_grid, *smoothing[1:]], levels.coarse, strict=True
            )
        ]
        coarsest = coarsest_solve(levels.coarse[-1], weights[-1])
        return MultigridCycle(cycle_levels, coarsest, self.num_visits)

    def field_cycle(
        self, levels: Hierarchy, operator: PoissonOperator, dtype: torch.dtype
    ) -> Callable[[Tensor], Tensor]:
        """The cycle of one geometry as a map of fields, on the device of the operator."""
        own = _in_dtype(operator, dtype)
        cycle = self.cycle_of(_to_device(levels, operator.device), own)
        return lambda r: cycle(r.reshape(-1)).reshape(r.shape)

    def evaluate(
        self, levels: Hierarchy, diagonal: Tensor
    ) -> tuple[list[CoarseWeights], list[Smoothing]]:
        """Everything that the perceptrons decide.

        Args:
            levels: The hierarchy.
            diagonal: Of the operator, at the fluid cells in the order of the hierarchy.

        Returns:
            The weights of all coarse levels, and the smoothing of all levels but the coarsest.
        """
        weights = [self._weights(graph) for graph in levels.coarse]
        smoothing = [self._smoothing(0, levels.finest, diagonal)]
        smoothing += [
            self._smoothing(1, graph, own.diagonal)
            for graph, own in zip(levels.coarse[:-1], weights[:-1], strict=True)
        ]
        return weights, smoothing

    def as_classical(self) -> "LearnedCCMGNet":
        """A net of the same kind whose perceptrons return zero: the classical cycle."""
        arguments = {k: v for k, v in self.arguments.items() if k != "ndim"}
        twin = LearnedCCMGNet(self.ndim or 2, **arguments)
        with torch.no_grad():
            for perceptron in (twin.edge, twin.link, twin.node):
                for parameter in perceptron[-1].parameters():
                    parameter.zero_()
        reference = self.log_relaxation
        return twin.to(device=reference.device, dtype=reference.dtype)

    def _weights(self, graph: CoarseGraph) -> CoarseWeights:
        along = len(graph.edge_features.place)
        factor = _factors(self.edge, graph.edge_features)
        edges = torch.cat([graph.conductance[:along] * factor, graph.conductance[along:]])
        links = graph.link_conductance * _factors(self.link, graph.link_features)
        diagonal = edges.new_zeros(graph.num_nodes).index_add(0, graph.lower, edges)
        diagonal = diagonal.index_add(0, graph.upper, edges)
        return CoarseWeights(edges, links, diagonal.index_add(0, graph.link_node, links))

    def _smoothing(
        self, depth: int, nodes: FinestNodes | CoarseGraph, diagonal: Tensor
    ) -> Smoothing:
        """Fields of the nodes of a level; `depth` is 0 for the finest and 1 for all others."""
        rows, place = nodes.node_features
        u = torch.tanh(self.node(rows))
        factors = torch.exp(self.log_relaxation[depth] + _RELAXATION_RANGE * u[:, :-1])
        inverse = torch.where(diagonal > 0, 1 / torch.where(diagonal > 0, diagonal, 1), 0)
        steps = [
            inverse * (step * factor)[place]
            for step, factor in zip(self.classical_steps, factors.unbind(1), strict=True)
        ]
        if self.smoother == "red_black":
            # the last half sweep is exact: no residual is left on black for the coarse level
            colours = [nodes.is_red, ~nodes.is_red] * self.degree
            steps = [
                torch.where(colour, step, 0)
                for colour, step in zip(colours, [*steps, inverse], strict=True)
            ]
        return Smoothing(tuple(steps), torch.exp(_GAIN_RANGE * u[:, -1])[place])


def chebyshev_steps(degree: int) -> list[float]:
    """Steps of Richardson's iteration whose polynomial is Chebyshev's on [½, 2].

    Source: Saad, "Iterative Methods for Sparse Linear Systems", 2nd ed., section 12.3.
    """
    centre, radius = (_LOW + _HIGH) / 2, (_HIGH - _LOW) / 2
    angles = [math.pi * (2 * k + 1) / (2 * degree) for k in range(degree)]
    return [1 / (centre + radius * math.cos(angle)) for angle in angles]


def _perceptron(outputs: int) -> nn.Sequential:
    layers = nn.Sequential(
        nn.Linear(NUM_FEATURES, _WIDTH),
        nn.SiLU(),
        nn.Linear(_WIDTH, _WIDTH),
        nn.SiLU(),
        nn.Linear(_WIDTH, outputs),
    )
    with torch.no_grad():
        for parameter in layers[-1].parameters():
            parameter.mul_(_FIRST_SCALE)
    return layers


def _factors(perceptron: nn.Module, features: DistinctRows) -> Tensor:
    """Factors on conductances (n,), those of equal rows computed once."""
    return torch.exp(torch.tanh(perceptron(features.rows)[:, 0]))[features.place]


def _in_dtype(operator: PoissonOperator, dtype: torch.dtype) -> PoissonOperator:
    fractions, coefficients = operator.face_fraction, operator.coefficients
    return PoissonOperator(
        operator.flags,
        operator.spacing,
        face_fraction=None if fractions is None else [a.to(dtype) for a in fractions],
        coefficients=None if coefficients is None else coefficients.to(dtype),
        dtype=dtype,
    )


def _to_device(levels: Hierarchy, device: torch.device) -> Hierarchy:
    if device.type == "cpu":
        return levels
    moved: Hierarchy = _moved(levels, device)
    return moved


def _moved(item: Any, device: torch.device) -> Any:
    """Named tuples of tensors, however deep, on another device."""
    if isinstance(item, Tensor):
        return item.to(device)
    if isinstance(item, tuple):
        parts = [_moved(part, device) for part in item]
        return type(item)(*parts) if hasattr(item, "_fields") else tuple(parts)
    return item

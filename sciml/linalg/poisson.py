"""The pressure operator of incompressible flow on cells that are solid, fluid or air."""

import copy
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, TypeAlias, final

import numpy as np
import scipy.sparse
import torch
from jaxtyping import Bool, Float, Int, Num, Shaped
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import override

from sciml.linalg.operator import LinearOperator
from sciml.linalg.poisson_box import FluidBox
from sciml.linalg.poisson_components import Components, RangeProjection
from sciml.linalg.poisson_csr import compressed_rows
from sciml.linalg.poisson_faces import Faces
from sciml.linalg.poisson_input import (
    as_field,
    as_sequence,
    as_tensor,
    checked_coefficients,
    checked_flags,
    checked_fractions,
    checked_spacing,
)
from sciml.linalg.poisson_stencil import Stencil
from sciml.linalg.poisson_velocity import check_velocity, divergence, gradient, with_rim

ArrayLike: TypeAlias = Shaped[Tensor, "..."] | NDArray[Any]


@final
class PoissonOperator(LinearOperator):
    r"""Minus the divergence of the gradient of a pressure, on a grid of flagged cells.

    .. math:: (A p)_i = \sum_{f \in \partial i} \frac{a_f \kappa_f}{h_f^2} (p_i - p_{j(f)})

    over the open faces f of fluid cell i, j(f) the cell beyond: p = 0 in air (a free surface),
    no flux into solids and out of the array. Rows of other cells are zero. A is symmetric and
    positive semi-definite; fluid that does not touch air leaves a constant free. Nothing is
    assembled: products are passes over shifted views of the field.

    The projection of a velocity u on the faces (`divergence`, `gradient`): solve
    ``A p = -A.divergence(u)``, then ``u - A.gradient(p)`` has no divergence. Time step and
    density may be part of p or of κ = Δt/ρ.

    Args:
        flags: Cells (*space) in two or three dimensions, of any integer type: 0 or 1 solid,
            2 fluid, 3 air. Outside of the array is solid.
        spacing: Cell width h, one or one per axis.
        face_fraction: Open part a of the area of each face, in [0, 1], one array per axis with
            one face more than cells along it: solids that cut cells. Ones by default. Values on
            faces that touch a solid or the rim play no part.
        coefficients: κ > 0 of each cell, ones by default. A face between fluid cells has the
            harmonic mean of both; one between fluid and air the κ of the fluid cell.
        num_axes: Axes of space where `flags` has leading axes of a batch of geometries besides;
            all by default.
        dtype: Floating dtype of the fields. float64 by default: residuals of a float32
            operator carry an error of about ε ‖A‖ ‖p‖, on large domains 1e-3 of b.
        device: Where the operator lives; that of `flags` by default.

    Raises:
        ValueError: If flags are not 0 to 3 in two or three axes with a fluid cell in each
            geometry, or spacing, fractions or coefficients do not fit or are out of range.
        TypeError: If flags are not integers, fractions or coefficients not floating-point, or
            tensors live on different devices.

    Source: Harlow and Welch, Phys. Fluids 8 (1965), 2182 (the grid); Ng, Min and Gibou, J.
    Comput. Phys. 228 (2009), 8807 (cut faces); Kaneda et al., arXiv:2205.10763 (its matrices).
    """

    def __init__(
        self,
        flags: ArrayLike,
        spacing: float | Sequence[float] = 1.0,
        *,
        face_fraction: Sequence[ArrayLike] | None = None,
        coefficients: ArrayLike | None = None,
        num_axes: int | None = None,
        dtype: torch.dtype = torch.float64,
        device: torch.device | None = None,
    ) -> None:
        cells = checked_flags(flags, num_axes)
        cells = cells if device is None else cells.to(device)
        count = cells.ndim if num_axes is None else num_axes
        shape = tuple(cells.shape)
        super().__init__(
            shape[-count:],
            shape[-count:],
            dtype=dtype,
            device=cells.device,
            batch_shape=shape[:-count],
            positive_definite=True,
        )
        self.flags = cells
        self.spacing = checked_spacing(spacing, count, dtype)
        self.coefficients: Tensor | None = None
        self.face_fraction: tuple[Tensor, ...] | None = None
        if coefficients is not None:
            values = as_tensor("coefficients", coefficients, self.device, dtype)
            self.coefficients = checked_coefficients(values, shape)
        if face_fraction is not None:
            given = [
                as_tensor("face_fraction", a, self.device, dtype)
                for a in as_sequence("face_fraction", face_fraction)
            ]
            self.face_fraction = checked_fractions(given, shape, count)
        # what solvers work out for this geometry, shared with the copies of `with_tensors`
        self.derived: dict[Any, Any] = {}
        self._versions = self._current_versions()

    @property
    @override
    def tensors(self) -> tuple[Tensor, ...]:
        """Coefficients, then face fractions, where there are any."""
        own = () if self.coefficients is None else (self.coefficients,)
        return own + (self.face_fraction or ())

    @override
    def with_tensors(self, tensors: Sequence[Tensor]) -> "PoissonOperator":
        if not tensors:
            return self
        self._check_unchanged()
        other = copy.copy(self)
        other.derived = self.derived
        for name in ("_made_faces", "_stencil", "_fingerprint"):
            other.__dict__.pop(name, None)
        others = list(tensors)
        if self.coefficients is not None:
            other.coefficients = others.pop(0)
        if self.face_fraction is not None:
            other.face_fraction = tuple(others)
            for name in ("_components", "_projection"):
                other.__dict__.pop(name, None)
        other._versions = other._current_versions()
        return other

    @override
    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles go without what solvers have worked out, which holds locks."""
        # versions count the changes of one tensor object, so a copy starts anew
        return {**self.__dict__, "derived": {}, "_versions": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._versions = self._current_versions()

    @property
    @override
    def T(self) -> "PoissonOperator":
        return self

    @property
    @override
    def singular(self) -> bool:
        """Always: without air a constant is free, and air cells are no unknowns."""
        return True

    @property
    def fluid(self) -> Bool[Tensor, "*batch_and_space"]:
        """Which cells are unknowns."""
        return self._faces.fluid

    @property
    def is_uniform(self) -> bool:
        """Whether all open faces have the same weight, 1/h²."""
        plain = self.coefficients is None and self.face_fraction is None
        return plain and len(set(self.spacing)) == 1

    @property
    def components(self) -> Int[Tensor, "*batch_and_space"]:
        """Number of the connected part that each fluid cell belongs to, -1 elsewhere."""
        return torch.from_numpy(self._components.labels()).to(self.device)

    @property
    def singular_components(self) -> Bool[Tensor, " components"]:
        """Of each connected part, whether it does not touch air."""
        return torch.from_numpy(self._components.singular).to(self.device)

    @property
    def face_weights(self) -> tuple[Float[Tensor, "..."], ...]:
        """Conductance a κ_f / h² of all faces per axis; zero on closed ones and on the rim."""
        return tuple(
            with_rim(weight, k, len(self.in_shape))
            for k, weight in enumerate(self._faces.conductances)
        )

    @property
    def fingerprint(self) -> str:
        """A digest of geometry and weights, the same for operators that are equal.

        A preconditioner records that of its operator and so notices another geometry.
        """
        self._check_unchanged()
        return self._fingerprint

    @override
    def __matmul__(self, other: Any) -> Any:
        """A x for a field of tensors or, in kind, of NumPy; A B for an operator."""
        if isinstance(other, np.ndarray):
            return self.mv(as_field(other, self.device)).detach().cpu().numpy()
        return super().__matmul__(other)

    @override
    def project(self, b: Any) -> Any:
        """`b`, a tensor or NumPy array, without what no pressure can produce, in kind.

        That is what lies outside of the fluid, and the mean over each part of it without air.
        """
        if isinstance(b, np.ndarray):
            return super().project(as_field(b, self.device)).detach().cpu().numpy()
        return super().project(b)

    @override
    def diagonal(self) -> Float[Tensor, "*batch_and_shape"]:
        """Sum of the conductances around each fluid cell, zero elsewhere."""
        self._check_unchanged()
        return self._stencil.diagonal.clone()

    @override
    def null_space(self) -> Float[Tensor, "k *shape"] | None:
        """One vector per cell that is not fluid and one constant per part without air.

        Raises:
            ValueError: If there is a batch of geometries.
        """
        self._check_single("null_space")
        return self._components.null_space(self.dtype).to(self.device)

    @override
    def range_projection(self) -> Callable[[Tensor], Tensor] | None:
        """Keeps the fluid, less the mean over each part of it that does not touch air."""
        self._check_unchanged()
        projection = self._projection
        return lambda b: projection(self._expanded(b))

    def divergence(self, velocity: Sequence[ArrayLike]) -> Any:
        """Net outflow of each fluid cell per volume (*batch, *space), zero elsewhere.

        Velocities on faces count by their open fraction. On walls and on the rim they are those
        of the wall (zero at rest, an inflow, a moving obstacle) and count in full; the flux
        through the solid part of a cut face is taken as zero.

        Args:
            velocity: Normal component on the faces across each axis, one more than cells;
                tensors, or NumPy arrays, which give one back.

        Raises:
            ValueError: If number or shapes differ.
            TypeError: If dtype or device differ from the operator's.
        """
        fields = [
            as_field(u, self.device) if isinstance(u, np.ndarray) else u for u in velocity
        ]
        check_velocity(fields, self.in_shape, self.dtype, self.device)
        found = divergence(self._faces, fields, self._mask)
        if all(isinstance(u, np.ndarray) for u in velocity):
            return found.detach().cpu().numpy()
        return found

    def gradient(self, p: ArrayLike) -> tuple[Any, ...]:
        """κ_f times the difference quotient of p on open faces, zero on others.

        With it ``A @ p == -A.divergence(A.gradient(p))`` to rounding on any geometry.

        Args:
            p: Tensor or NumPy array (*batch, *space).

        Returns:
            One field per axis, of the kind of p, with one face more than cells along it.

        Raises:
            ValueError: If the shape differs.
            TypeError: If dtype or device differ from the operator's.
        """
        if isinstance(p, np.ndarray):
            faces = self.gradient(as_field(p, self.device))
            return tuple(face.detach().cpu().numpy() for face in faces)
        self._check_field("gradient", p, self.in_shape)
        return gradient(self._faces, self._expanded(p) * self._mask)

    def to_csr(self) -> scipy.sparse.csr_array:
        """A as a matrix over all cells in C order; rows outside of the fluid store nothing.

        Raises:
            ValueError: If there is a batch of geometries.
        """
        self._check_single("to_csr")
        return compressed_rows(self._faces, self._stencil.diagonal)

    @override
    def _mv(self, x: Tensor) -> Tensor:
        self._check_unchanged()
        return self._stencil.mv(self._expanded(x))

    @override
    def describe_outside(self, b: Num[Tensor, "*images"]) -> str:
        """What of `b` lies on cells that are no unknowns, and whether flows do not balance."""
        inside = b.detach() * self.fluid
        elsewhere = b.detach() - inside
        norm = b.detach().norm()
        parts = []
        if bool(elsewhere.any()):
            share, count = float(elsewhere.norm() / norm), int((elsewhere != 0).sum())
            parts.append(f"{share:.2g} on {count} solid or air cells, which are no unknowns")
        share = float((inside - self.project(inside)).norm() / norm)
        if share > torch.finfo(self.dtype).eps:
            count = int(self._components.singular.sum())
            parts.append(
                f"{share:.2g} in the means over {count} connected part(s) of the fluid without "
                "air, where inflow and outflow have to balance"
            )
        return " and ".join(parts)

    @cached_property
    def fluid_box(self) -> FluidBox | None:
        """The box that fluid fills, for a solve by transforms; None where it does not."""
        if self.batch_shape or self.coefficients is not None or self.face_fraction is not None:
            return None
        return FluidBox.of(self.flags, self.spacing, self.dtype)

    @property
    def _faces(self) -> Faces:
        self._check_unchanged()
        return self._made_faces

    @cached_property
    def _made_faces(self) -> Faces:
        return Faces(
            self.flags, self.spacing, self.face_fraction, self.coefficients, self.dtype
        )

    @cached_property
    def _mask(self) -> Tensor:
        return self._faces.fluid.to(self.dtype)

    @cached_property
    def _stencil(self) -> Stencil:
        faces = self._faces
        if self.coefficients is None and self.face_fraction is None:
            weights = [1 / width**2 for width in self.spacing]
            return Stencil(faces.plain_diagonal(), weights, self._mask)
        return Stencil(faces.diagonal(), faces.couplings, None)

    @cached_property
    def _components(self) -> Components:
        return Components.of(self._faces)

    @cached_property
    def _projection(self) -> RangeProjection:
        return RangeProjection(self._mask, self._components, len(self.in_shape))

    @cached_property
    def _fingerprint(self) -> str:
        return self._faces.digest()

    def _current_versions(self) -> tuple[int, ...]:
        """How often flags and weights have been written to, as far as torch counts it."""
        kept = (self.flags, *self.tensors)
        return tuple(0 if t.is_inference() else t._version for t in kept)

    def _check_unchanged(self) -> None:
        """Refuse flags or weights that were written to: what was made of them is stale."""
        if self._current_versions() != self._versions:
            raise ValueError(
                "PoissonOperator: expected flags, coefficients and face fractions as they were "
                "when it was made, got some that were changed in place since; make a new "
                "operator of them, and CCMG.update(operator) if there is one"
            )

    def _check_single(self, function: str) -> None:
        if self.batch_shape:
            raise ValueError(
                f"PoissonOperator.{function}: expected one geometry, got a batch "
                f"{self.batch_shape}; make an operator of one"
            )

    def _expanded(self, x: Tensor) -> Tensor:
        """Fields with the batch axes of the geometries, where there are any."""
        if not self.batch_shape:
            return x
        batch = torch.broadcast_shapes(x.shape[: x.ndim - len(self.in_shape)], self.batch_shape)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return x.expand(*batch, *self.in_shape)

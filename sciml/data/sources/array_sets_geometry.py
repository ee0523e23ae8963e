"""Recipes of data sets on varying geometries: Geo-FNO, car surfaces, a holed domain.

Sources: Z. Li et al., Geo-FNO, 2022, arXiv:2207.05209 (elasticity, plasticity, airfoil, pipe);
Z. Li et al., Geometry-informed neural operator, 2023, arXiv:2309.00583 (car surfaces).
Curvilinear grids are boxes in their index coordinates, with the position of each point as input
fields.
"""

import numpy as np

from sciml.data.sources.array_sets import ArraySet, FieldArray, Meaning, Recipe
from sciml.data.sources.array_sets_grids import grid_spec
from sciml.domain import Box
from sciml.spec import DatasetSpec

_PLASTICITY_FIELDS = ("x", "y", "displacement_x", "displacement_y")
_BLOCK = (50.0, 15.0)  # millimetres
_MACH, _VELOCITY = 4, 0


def _cloud_spec(
    files: ArraySet,
    name: str,
    num_points: int,
    low: tuple[float, ...],
    high: tuple[float, ...],
) -> DatasetSpec:
    """Spec of point clouds in the box from `low` to `high`."""
    if not all(a < b for a, b in zip(low, high, strict=True)):  # also refuses NaN
        raise ValueError(
            f"open_source: expected points that span a box in {files.paths[0]}, got "
            f"coordinates from {low} to {high}; the file is damaged or of another kind"
        )
    box = Box(("x", "y", "z")[: len(low)], low, high)
    return DatasetSpec(name, box, (num_points,), (), (), unstructured=True)


def _elasticity_points(files: ArraySet) -> Meaning | None:
    shape, radii = files.shape("XY"), files.shape("rr")
    if len(shape) != 3 or shape[1] != 2 or files.shape("sigma") != (shape[0], shape[2]):
        return None
    scalars = {}
    if len(radii) == 2 and radii[1] == shape[2]:
        values = files.numbers("rr")
        scalars = {f"void_radius_{angle}": values[angle] for angle in range(radii[0])}
    return Meaning(
        recipe="Geo-FNO elasticity, points",
        spec=_cloud_spec(files, "elasticity", shape[0], (0.0, 0.0), (1.0, 1.0)),
        targets=(FieldArray("stress", files.samples("sigma", (1, 0))),),
        coords=(files.samples("XY", (2, 0, 1)),),
        scalars=scalars,
        split_preset="lsm_elasticity",
    )


def _elasticity_grid(files: ArraySet) -> Meaning | None:
    """Interpolated to a grid with a mask, or on a mesh of its own for each sample."""
    shape = files.shape("sigma")
    names = ("mask",) if "mask" in files.arrays else ("X", "Y")
    if len(shape) != 3 or any(files.shape(name) != shape for name in names):
        return None
    return Meaning(
        recipe="Geo-FNO elasticity, grids",
        spec=grid_spec("elasticity", shape[:2]),
        inputs=tuple(
            FieldArray(name.lower(), files.samples(name, (2, 0, 1))) for name in names
        ),
        targets=(FieldArray("stress", files.samples("sigma", (2, 0, 1))),),
        split_preset="lsm_elasticity",
    )


def _plasticity(files: ArraySet) -> Meaning | None:
    die, shape = files.shape("input"), files.shape("output")
    if len(die) != 2 or len(shape) != 5 or shape[:2] != die or shape[4] != 4:
        return None
    output = files.samples("output", (0, 4, 1, 2, 3))
    box = Box(("x", "y", "t"), (0.0, 0.0, 0.0), (*_BLOCK, 1.0))
    profile = FieldArray("die", files.samples("input", (0, 1)), shape=(die[1], 1, 1))
    return Meaning(
        recipe="Geo-FNO plasticity",
        spec=DatasetSpec("plasticity", box, shape[1:4], (), ()),
        inputs=(profile,),
        targets=tuple(
            FieldArray(name, output, entry) for entry, name in enumerate(_PLASTICITY_FIELDS)
        ),
        split_preset="lsm_plasticity",
        notes=("time is the third axis, from 0 to 1: the file states no times",),
    )


def _curvilinear_flow(files: ArraySet) -> Meaning | None:
    shape, flow = files.shape("X"), files.shape("Q")
    if len(shape) != 3 or files.shape("Y") != shape or len(flow) != 4:
        return None
    if (flow[0], *flow[2:]) != shape or flow[1] not in (3, 5):
        return None
    airfoil = flow[1] == 5
    values = files.samples("Q", (0, 1, 2, 3))
    return Meaning(
        recipe="Geo-FNO airfoil" if airfoil else "Geo-FNO pipe",
        spec=grid_spec("airfoil" if airfoil else "pipe", shape[1:]),
        inputs=tuple(
            FieldArray(name.lower(), files.samples(name, (0, 1, 2))) for name in ("X", "Y")
        ),
        targets=(
            FieldArray("mach_number", values, _MACH)
            if airfoil
            else FieldArray("velocity_x", values, _VELOCITY),
        ),
        split_preset="lsm_airfoil" if airfoil else "lsm_pipe",
    )


def _holed_poisson(files: ArraySet) -> Meaning | None:
    shape, parameters = files.shape("x"), files.shape("mu")
    if len(shape) != 2 or any(files.shape(name) != shape for name in ("y", "u")):
        return None
    if len(parameters) != 2 or parameters[0] != shape[1]:
        return None
    coords = tuple(files.samples(name, (1, 0)) for name in ("x", "y"))
    values = files.numbers("mu")
    columns = [files.numbers(name) for name in ("x", "y")]
    low, high = zip(*((float(c.min()), float(c.max())) for c in columns), strict=True)
    return Meaning(
        recipe="PINA Poisson on a holed domain",
        spec=_cloud_spec(files, "poisson", shape[0], low, high),
        targets=(FieldArray("solution", files.samples("u", (1, 0))),),
        coords=coords,
        scalars={f"mu_{column}": values[:, column] for column in range(values.shape[1])},
    )


def _car(files: ArraySet) -> Meaning | None:
    vertices, pressure = files.shape("vertices"), files.shape("press")
    if len(vertices) != 2 or vertices[1] != 3 or len(pressure) != 2 or pressure[0] != 1:
        return None
    places = [
        name for name in ("vertices", "centroids") if files.shape(name) == (pressure[1], 3)
    ]
    if not places:
        raise ValueError(
            f"open_source: expected as many pressures as vertices or centroids in "
            f"{files.paths[0]}, {files.position}, got {pressure[1]} for {files.contents()}; "
            "the file is damaged or of another kind"
        )
    points = files.numbers(places[0])
    low, high = np.min(points, axis=0).tolist(), np.max(points, axis=0).tolist()
    return Meaning(
        recipe=f"car surfaces, pressure at the {places[0]}",
        spec=_cloud_spec(files, "car", pressure[1], tuple(low), tuple(high)),
        targets=(FieldArray("pressure", files.samples("press", (0, 1))),),
        coords=(files.samples(places[0], (None, 0, 1)),),
    )


RECIPES = (
    Recipe("Geo-FNO elasticity", "XY (p, 2, n), sigma (p, n)", _elasticity_points),
    Recipe("Geo-FNO elasticity grids", "mask or X, Y, and sigma (a, b, n)", _elasticity_grid),
    Recipe("Geo-FNO plasticity", "input (n, a), output (n, a, b, t, 4)", _plasticity),
    Recipe("Geo-FNO airfoil, pipe", "X, Y (n, a, b), Q (n, 5 or 3, a, b)", _curvilinear_flow),
    Recipe("PINA holed Poisson", "x, y, u (p, n), mu (n, k)", _holed_poisson),
    Recipe("car surfaces", "dicts of vertices (p, 3), press (1, p)", _car),
)
"""Recipes of this module, in the order in which they are tried."""

"""Recipes of data sets on regular grids: FNO, neuraloperator, PINO.

Sources: Z. Li et al., Fourier neural operator, 2020, arXiv:2010.08895 (Navier–Stokes, Darcy,
Burgers); J. Kossaifi et al., Multi-grid tensorized FNO, 2023, arXiv:2310.00120 (nsforcing);
Z. Li et al., Physics-informed neural operator, 2021, arXiv:2111.03794 (Kolmogorov flow).
"""

import math
import re

import numpy as np
from numpy.typing import NDArray

from sciml.data.sources.array_sets import ArraySet, FieldArray, Meaning, Recipe
from sciml.domain import Box
from sciml.spec import DatasetSpec

_NEURALOP_BURGERS_STEP = (
    0.06  # not 1/16: a spectral solution agrees with the files for this only
)


def grid_spec(
    name: str,
    resolution: tuple[int, ...],
    *,
    high: tuple[float, ...] | None = None,
    periodic: bool = False,
    dt: float | None = None,
) -> DatasetSpec:
    """Spec of a box that begins at the origin; the fields are filled in by `ArraySource`.

    Published grids are strided as vertex grids are, (s - 1) / r + 1 points of s.
    """
    axes = ("x", "y", "z")[: len(resolution)]
    ones = (1.0,) * len(axes)
    box = Box(axes, (0.0,) * len(axes), high or ones, (periodic,) * len(axes))
    return DatasetSpec(name, box, resolution, (), (), dt=dt)


def time_step(times: NDArray[np.float64], files: ArraySet) -> float | None:
    """Mean step of increasing times, without the rounding error of single precision.

    Raises:
        ValueError: If the times do not increase.
    """
    if len(times) < 2:
        return None
    if not np.all(np.diff(times) > 0):  # also refuses NaN
        raise ValueError(
            f"open_source: expected increasing times in {files.paths[0]}, got "
            f"{times[:4].tolist()} ...; the file is damaged or of another kind"
        )
    return float(f"{(times[-1] - times[0]) / (len(times) - 1):.6g}")


def _stated(pattern: str, files: ArraySet) -> float | None:
    """A number that the published file name states, as in ``V1e-3`` and ``Re500``."""
    found = re.search(rf"(?:^|[_-]){pattern}(\d[\d.]*(?:e-?\d+)?)(?=[_-]|$)", files.stem, re.I)
    return None if found is None else float(found[1])


def _fno_navier_stokes(files: ArraySet) -> Meaning | None:
    shape, listed = files.shape("u"), files.shape("t")
    if len(shape) != 4 or shape[1] != shape[2]:
        return None
    if listed and math.prod(listed) != shape[3]:
        return None
    times = files.numbers("t").ravel() if listed else np.arange(1.0, shape[3] + 1)
    viscosity = _stated("V", files)
    dt = time_step(times, files)
    notes = ("variable a, the vorticity at time 0, is not read: papers use frames of u",)
    return Meaning(
        recipe="FNO Navier-Stokes",
        spec=grid_spec("navier_stokes", shape[1:3], periodic=True, dt=dt),
        inputs=(FieldArray("vorticity", files.samples("u", (0, 3, 1, 2))),),
        times=times,
        scalars={} if viscosity is None else {"viscosity": viscosity},
        split_preset="fno_ns",
        notes=notes if "a" in files.arrays else (),
    )


def _fno_darcy(files: ArraySet) -> Meaning | None:
    shape = files.shape("coeff")
    if len(shape) != 3 or shape != files.shape("sol"):
        return None
    unread = [name for name in ("Kcoeff", "Kcoeff_x", "Kcoeff_y") if name in files.arrays]
    roles = {"smooth1": "train", "smooth2": "test"}
    return Meaning(
        recipe="FNO Darcy",
        spec=grid_spec("darcy", shape[1:]),
        inputs=(FieldArray("coefficient", files.samples("coeff", (0, 1, 2))),),
        targets=(FieldArray("solution", files.samples("sol", (0, 1, 2))),),
        role=next((roles[word] for word in roles if word in files.stem), ""),
        split_preset="fno_darcy",
        notes=(f"not read: {', '.join(unread)}, smoothed copies of coeff",) if unread else (),
    )


def _fno_burgers(files: ArraySet) -> Meaning | None:
    shape = files.shape("a")
    if len(shape) != 2 or shape != files.shape("u"):
        return None
    return Meaning(
        recipe="FNO Burgers",
        spec=grid_spec("burgers", shape[1:], periodic=True),
        inputs=(FieldArray("initial_velocity", files.samples("a", (0, 1))),),
        targets=(FieldArray("velocity", files.samples("u", (0, 1))),),
        split_preset="fno_burgers",
    )


def _burgers_trajectories(
    files: ArraySet, initial: str, frames: str, times: NDArray[np.float64] | None
) -> Meaning | None:
    """Trajectories of Burgers' equation; their first frame repeats the initial values."""
    start, shape = files.shape(initial), files.shape(frames)
    if len(start) != 2 or len(shape) != 3 or (shape[0], shape[2]) != start:
        return None
    if times is None:
        times = np.linspace(0.0, 1.0, shape[1])
    if len(times) != shape[1]:
        return None
    viscosity = files.numbers("visc").ravel() if "visc" in files.arrays else np.zeros(0)
    known = len(viscosity) in (1, shape[0])
    return Meaning(
        recipe="Burgers trajectories",
        spec=grid_spec("burgers", shape[2:], periodic=True, dt=time_step(times, files)),
        inputs=(FieldArray("velocity", files.samples(frames, (0, 1, 2))),),
        times=times,
        scalars={"viscosity": viscosity} if known else {},
        notes=(f"variable {initial} is not read: it repeats the first frame of {frames}",),
    )


def _pino_burgers(files: ArraySet) -> Meaning | None:
    times = files.numbers("tspan").ravel() if "tspan" in files.arrays else None
    return _burgers_trajectories(files, "input", "output", times)


def _neuralop_burgers(files: ArraySet) -> Meaning | None:
    shape = files.shape("y")
    if len(shape) != 3:
        return None
    times = _NEURALOP_BURGERS_STEP * np.arange(shape[1], dtype=np.float64)
    return _burgers_trajectories(files, "x", "y", times)


def _neuralop_pairs(files: ArraySet) -> Meaning | None:
    shape = files.shape("x")
    if len(shape) != 3 or shape != files.shape("y") or "u" in files.arrays or 0 in shape:
        return None
    x, y = files.samples("x", (0, 1, 2)), files.samples("y", (0, 1, 2))
    # a coefficient of two values is Darcy flow; a forcing has a value of its own at every point
    direct = files.arrays["x"].direct()
    darcy = len(np.unique(x[0] if direct is None else direct[0])) <= 2
    circle = 2 * math.pi
    return Meaning(
        recipe="neuraloperator Darcy" if darcy else "neuraloperator nsforcing",
        spec=grid_spec("darcy", shape[1:])
        if darcy
        else grid_spec("nsforcing", shape[1:], high=(circle, circle), periodic=True),
        inputs=(FieldArray("coefficient" if darcy else "forcing", x),),
        targets=(FieldArray("solution" if darcy else "vorticity", y),),
    )


def _kolmogorov(files: ArraySet) -> Meaning | None:
    """One array whose frames include the initial state, so that only their number is odd."""
    shape = next(iter(files.arrays.values())).shape if len(files.arrays) == 1 else ()
    odd = [axis for axis in (1, 2, 3) if len(shape) == 4 and shape[axis] % 2]
    if len(odd) != 1 or odd[0] == 2:
        return None
    time, space = odd[0], [axis for axis in (1, 2, 3) if axis != odd[0]]
    resolution = (shape[space[0]], shape[space[1]])
    if resolution[0] != resolution[1]:
        return None
    circle = 2 * math.pi
    reynolds = _stated("Re", files)
    values = files.samples(next(iter(files.arrays)), (0, time, *space))
    return Meaning(
        recipe="PINO Kolmogorov flow",
        spec=grid_spec("kolmogorov", resolution, high=(circle, circle), periodic=True, dt=1.0),
        inputs=(FieldArray("vorticity", values),),
        times=np.arange(float(shape[time])),
        scalars={} if reynolds is None else {"reynolds_number": reynolds},
        notes=("times count frames: the file does not state the time between them",),
    )


def _pina_advection(files: ArraySet) -> Meaning | None:
    shape = files.shape("input")
    if len(shape) != 3 or shape[2] != 1 or shape != files.shape("output"):
        return None

    def column(name: str, variable: str) -> FieldArray:
        return FieldArray(name, files.samples(variable, (0, 1, 2)), shape=shape[1:2])

    return Meaning(
        recipe="PINA advection",
        spec=grid_spec("advection", shape[1:2], periodic=True),
        inputs=(column("initial_solution", "input"),),
        targets=(column("solution", "output"),),
        notes=("the file states no coordinates: the axis is taken as [0, 1)",),
    )


RECIPES = (
    Recipe("FNO Navier-Stokes", "u (n, s, s, t), perhaps t", _fno_navier_stokes),
    Recipe("FNO Darcy", "coeff, sol (n, s, s)", _fno_darcy),
    Recipe("FNO Burgers", "a, u (n, s)", _fno_burgers),
    Recipe("PINO Burgers", "input (n, s), output (n, t, s)", _pino_burgers),
    Recipe("neuraloperator Burgers", "x (n, s), y (n, t, s)", _neuralop_burgers),
    Recipe("neuraloperator Darcy or nsforcing", "x, y (n, s, s)", _neuralop_pairs),
    Recipe("PINO Kolmogorov", "one array (n, t, s, s) or (n, s, s, t), t odd", _kolmogorov),
    Recipe("PINA advection", "input, output (n, s, 1)", _pina_advection),
)
"""Recipes of this module, in the order in which they are tried."""

"""PDEBench's families of equations: what their files are called, hold and leave unsaid.

Source: M. Takamoto et al., PDEBench: An Extensive Benchmark for Scientific Machine Learning,
NeurIPS 2022, arXiv:2210.07182. Boundary conditions are those of its appendix; the files do not
state them.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, final

import numpy as np

Face = Literal["wall", "open", "periodic"]
"""What holds on all faces of a family's box."""

FACE_CODES: Mapping[Face, int] = {"wall": 0, "open": 1, "periodic": 2}
"""Codes of `Source.boundary`."""

_NUMBER = r"[-+]?\d+(?:\.\d*)?(?:e[-+]?\d+)?"


@final
@dataclass(frozen=True)
class Family:
    """One equation of the benchmark.

    Args:
        name: Its name, as data set name.
        fields: Names of its scalar fields, in channel order.
        parameters: PDE parameters by their published names, in the order that the root
            attributes have in HDF5.
        words: Pattern of the file name or of the configuration's name.
        face: Condition on the faces of the box.
    """

    name: str
    fields: tuple[str, ...]
    parameters: tuple[str, ...]
    words: str
    face: Face


ADVECTION = Family("advection", ("u",), ("beta",), "advection", "periodic")
BURGERS = Family("burgers", ("u",), ("Nu",), "burgers", "periodic")  # viscosity is Nu / pi
REACTION_DIFFUSION = Family(
    "reaction_diffusion", ("u",), ("Nu", "rho"), "reac-?diff|reaction.?diffusion", "periodic"
)
DARCY = Family("darcy", ("u",), ("beta",), "darcy|decayflow", "wall")
COMPRESSIBLE = Family(
    "compressible_navier_stokes", ("density", "pressure"), ("M", "eta", "zeta"), "cfd", "open"
)
INCOMPRESSIBLE = Family(
    "incompressible_navier_stokes", ("particles",), ("NU",), "ns_incom", "wall"
)
DIFFUSION_SORPTION = Family("diffusion_sorption", ("u",), (), "diff-?sorp", "wall")
DIFFUSION_REACTION = Family(
    "diffusion_reaction", ("activator", "inhibitor"), ("Du", "Dv", "k"), "diff-?react", "wall"
)
SHALLOW_WATER = Family(
    "shallow_water", ("depth",), ("dam_radius", "gravity"), "rdb|swe|shallow|dam", "open"
)

_TENSOR_FAMILIES = (ADVECTION, BURGERS, REACTION_DIFFUSION)
_GROUP_FAMILIES = (DIFFUSION_SORPTION, DIFFUSION_REACTION, SHALLOW_WATER)


def number_in_name(file_name: str, parameter: str) -> float | None:
    """Value of a parameter in a published file name, where numbers follow their names.

    The names spell numbers as ``0.01``, ``1.e-8`` and ``1e-08``.
    """
    found = re.search(rf"(?<![a-z]){parameter}({_NUMBER})", file_name, re.IGNORECASE)
    return float(found[1]) if found else None


def parameters_of(
    attributes: Mapping[str, Any], file_name: str, names: tuple[str, ...]
) -> dict[str, float]:
    """PDE parameters from the root attributes, or from the file name where one is missing.

    Raises:
        ValueError: If an attribute is not one number.
    """
    by_name = {key.lower(): key for key in attributes}
    values: dict[str, float] = {}
    for name in names:
        key = by_name.get(name.lower())
        value = number_in_name(file_name, name) if key is None else attributes[key]
        if value is None:
            continue
        number = np.asarray(value)
        if number.size != 1 or number.dtype.kind not in "iuf":
            raise ValueError(
                f"open_source: expected one number in the attribute {key!r} of {file_name}, "
                f"got {number.dtype} of shape {number.shape}; correct the attribute"
            )
        values[name] = float(number.reshape(()))
    return values


def tensor_family(attributes: Mapping[str, Any], file_name: str) -> Family | None:
    """Family of a file with one ``tensor``, None where neither attributes nor name tell."""
    names = ("beta", "Nu", "rho")
    # together first, so that the name makes up for a missing attribute; where they contradict
    # each other the attributes count
    for given, name in ((attributes, file_name), (attributes, ""), ({}, file_name)):
        found = set(parameters_of(given, name, names))
        for family in _TENSOR_FAMILIES:
            if found == set(family.parameters):
                return family
    return next((f for f in _TENSOR_FAMILIES if _says(file_name, f)), None)


def group_family(
    config: Mapping[str, Any], file_name: str, channels: int, ndim: int
) -> Family | None:
    """Family of a file of seed groups, by its configuration, its name, and its shape last."""
    simulation = config.get("sim")
    keys = set(simulation) if isinstance(simulation, Mapping) else set()
    fitting = [
        family
        for family, dimension in zip(_GROUP_FAMILIES, (1, 2, 2), strict=True)
        if (len(family.fields), dimension) == (channels, ndim)
    ]
    for family in fitting:
        if keys & set(family.parameters) or _says(str(config.get("name", "")), family):
            return family
    return next((f for f in fitting if _says(file_name, f)), fitting[0] if fitting else None)


def _says(text: str, family: Family) -> bool:
    return re.search(family.words, text, re.IGNORECASE) is not None

"""What the arrays of a PDEBench file mean: known of its family, or noted by our writer.

The layouts have no place for a name, fields, a box or boundary conditions. Our writer adds them
as one attribute, which the benchmark's own loaders do not look at.
"""

import json
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from sciml.data.sources.pdebench_family import FACE_CODES, Face, Family
from sciml.domain import Box, GridKind
from sciml.spec import DatasetSpec, FieldSpec

SETTING = "sciml_setting"
"""Name of the attribute."""


@final
@dataclass(frozen=True)
class Setting:
    """What the arrays of a file mean, known of the published families or noted by our writer.

    Args:
        name: Data set name.
        domain: Box with periodicity.
        grid: Grid kind per axis.
        in_fields: Fields in channel order.
        out_fields: Output fields in channel order; the same unless the file holds pairs.
        params: Names of the PDE parameters.
        boundary: Code of the low and high face of each axis.
    """

    name: str
    domain: Box
    grid: tuple[GridKind, ...]
    in_fields: tuple[FieldSpec, ...]
    out_fields: tuple[FieldSpec, ...]
    params: tuple[str, ...]
    boundary: NDArray[np.int64]


def setting_text(spec: DatasetSpec, boundary: NDArray[np.int64]) -> str:
    """Setting of a data set as JSON, inverse of `read_setting`."""
    content = spec.to_dict()
    kept = {key: content[key] for key in ("name", "domain", "grid", "in_fields", "out_fields")}
    params = [*spec.constants, *spec.params]
    return json.dumps(kept | {"params": params, "boundary": boundary.tolist()})


def read_setting(owner: Any) -> Setting | None:
    """Setting that our writer noted in the attributes of an HDF5 object, None without.

    Raises:
        ValueError: If it is damaged.
    """
    if SETTING not in owner.attrs:
        return None
    try:
        noted = json.loads(str(owner.attrs[SETTING]))
        setting = Setting(
            name=noted["name"],
            domain=Box(**{key: tuple(value) for key, value in noted["domain"].items()}),
            grid=tuple(noted["grid"]),
            in_fields=tuple(FieldSpec(**entry) for entry in noted["in_fields"]),
            out_fields=tuple(FieldSpec(**entry) for entry in noted["out_fields"]),
            params=tuple(noted["params"]),
            boundary=np.array(noted["boundary"], np.int64),
        )
        _check_consistent(setting)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"open_source: expected the attribute {SETTING} of {owner.name} in "
            f"{owner.file.filename} as our writer leaves it, got a damaged one ({error!r}); "
            "delete the attribute or write the file again"
        ) from error
    return setting


def check_setting(
    setting: Setting, owner: Any, num_channels: int, resolution: tuple[int, ...]
) -> None:
    """Refuse a noted setting that belongs to other arrays.

    Raises:
        ValueError: If numbers of channels or axes differ.
    """
    noted = (sum(item.components for item in setting.out_fields), setting.domain.ndim)
    if noted != (num_channels, len(resolution)):
        raise ValueError(
            f"open_source: expected {noted[0]} channels on {noted[1]} axes by the attribute "
            f"{SETTING} of {owner.file.filename}, got {num_channels} channels on "
            f"{len(resolution)} axes; delete the attribute or write the file again"
        )


def _check_consistent(setting: Setting) -> None:
    """Refuse what `Box` and `FieldSpec` do not check themselves."""
    ndim = setting.domain.ndim
    fields = setting.in_fields + setting.out_fields
    texts: list[object] = [setting.name, *setting.params, *setting.domain.axes]
    texts += [item.name for item in fields]
    sound = (
        setting.boundary.shape == (ndim, 2)
        and len(setting.grid) == ndim
        and set(setting.grid) <= {"vertex", "cell"}
        and bool(np.all(np.isfinite((setting.domain.low, setting.domain.high))))
        and all(isinstance(text, str) for text in texts)
        and all(item.components == ndim**item.rank for item in fields)
    )
    if not sound:
        raise ValueError(f"{setting} contradicts itself")


def published_setting(
    family: Family,
    face: Face,
    domain: Box,
    in_fields: tuple[FieldSpec, ...],
    out_fields: tuple[FieldSpec, ...],
) -> Setting:
    """Setting of a published family, whose values lie at cell centres."""
    cell: GridKind = "cell"
    return Setting(
        name=family.name,
        domain=domain,
        grid=(cell,) * domain.ndim,
        in_fields=in_fields,
        out_fields=out_fields,
        params=family.parameters,
        boundary=np.full((domain.ndim, 2), FACE_CODES[face], np.int64),
    )

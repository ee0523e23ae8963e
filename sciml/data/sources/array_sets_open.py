"""From files of named arrays to data sets: grouping, recognising and leaving out."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from sciml.data.sources.array_sets import ArraySet, Meaning
from sciml.data.sources.array_sets_geometry import RECIPES as GEOMETRY_RECIPES
from sciml.data.sources.array_sets_grids import RECIPES as GRID_RECIPES
from sciml.data.sources.array_sets_source import ArraySource
from sciml.data.sources.array_sets_storage import StoredArray

RECIPES = (*GRID_RECIPES, *GEOMETRY_RECIPES)
"""Published data sets, in the order in which they are tried."""

_VARIABLES = ("X", "Y", "XY", "Q", "sigma", "rr", "theta", "mask", "input", "output")
"""Words of file names that say which variable a file with one array holds."""


def open_array_sets(files: Sequence[ArraySet]) -> list[ArraySource]:
    """Parts of a data set from the arrays of its files.

    Files that hold one array without a name belong together when their names differ in the name
    of the variable only (``Pipe_X.npy``, ``Pipe_Q.npy``). Files of other resolutions than the
    training files' are left out.

    Raises:
        ValueError: If no recipe fits, or if the files are of several data sets.
    """
    sets = [(group, _recognise(group)) for group in _grouped(files)]
    known = [(group, meaning) for group, meaning in sets if meaning is not None]
    if not known:
        raise _unknown(sets[0][0])
    names = {meaning.spec.name: group for group, meaning in known}
    if len(names) > 1:
        found = ", ".join(f"{name} ({g.paths[0].name})" for name, g in names.items())
        raise ValueError(
            "open_source: expected the files of one data set in "
            f"{known[0][0].paths[0].parent}, got {len(names)}: {found}; open one file, or move "
            "each set into its own folder"
        )
    left_out = [group for group, meaning in sets if meaning is None]
    kept, others = _one_resolution(known)
    notes = tuple(
        f"left out: {', '.join(sorted(path.name for path in group.paths))} ({why})"
        for groups, why in ((left_out, "no part of the set"), (others, "another resolution"))
        for group in groups
    )
    return [ArraySource(group, meaning, notes) for group, meaning in kept]


def _recognise(files: ArraySet) -> Meaning | None:
    found = (recipe.read(files) for recipe in RECIPES)
    return next((meaning for meaning in found if meaning is not None), None)


def _unknown(files: ArraySet) -> ValueError:
    tried = "; ".join(f"{recipe.name}: {recipe.expects}" for recipe in RECIPES)
    paths = ", ".join(str(path) for path in files.paths[:4])
    return ValueError(
        f"open_source: expected the variables of a known data set, got {paths} with "
        f"{files.contents() or 'none'}; "
        f"convert it with the names and shapes of one of the known sets ({tried})"
    )


def _grouped(files: Sequence[ArraySet]) -> list[ArraySet]:
    """Put files with one nameless array each together by their names."""
    groups: dict[tuple[str, ...], list[tuple[str, ArraySet]]] = {}
    named = []
    for part in files:
        if list(part.arrays) != [""]:
            named.append(part)
            continue
        words = re.split(r"[^A-Za-z0-9]+", part.stem)
        variables = [word for word in words if word in _VARIABLES]
        # with several such words, or none, a name says nothing about its neighbours
        variable = variables[0] if len(variables) == 1 else ""
        rest = tuple(word for word in words if word != variable)
        groups.setdefault(rest, []).append((variable, part))
    return named + [_joined(members) for members in groups.values()]


def _joined(members: Sequence[tuple[str, ArraySet]]) -> ArraySet:
    first = members[0][1]
    arrays: Mapping[str, StoredArray] = {name: part.arrays[""] for name, part in members}
    paths = tuple(path for _, part in members for path in part.paths)
    return replace(first, paths=paths, arrays=arrays)


def _one_resolution(
    known: Sequence[tuple[ArraySet, Meaning]],
) -> tuple[list[tuple[ArraySet, Meaning]], list[ArraySet]]:
    """Files of one resolution, that of the training files, and those of the others."""
    if known[0][1].spec.unstructured:
        return list(known), []
    resolutions = sorted({meaning.spec.resolution for _, meaning in known})
    for_training = sorted(
        {m.spec.resolution for files, m in known if (m.role or files.role) == "train"}
    )
    candidates = resolutions if len(resolutions) == 1 else for_training
    if len(candidates) != 1:
        raise ValueError(
            f"open_source: expected training files of one resolution in "
            f"{known[0][0].paths[0].parent}, got files of {resolutions} and training files of "
            f"{for_training or 'none'}; open one file, or move each resolution into its own "
            "folder"
        )
    kept = [pair for pair in known if pair[1].spec.resolution == candidates[0]]
    others = [files for files, m in known if m.spec.resolution != candidates[0]]
    return kept, others

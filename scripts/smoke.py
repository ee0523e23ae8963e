"""Simulate smoke that rises past a body, and say what the pressure solves cost.

Writes the frames (density, velocity, pressure, right-hand side, flags) as HDF5 in The Well's
layout, an animation, a sheet of pictures and a summary. Options are name=value.

Examples:
    python scripts/smoke.py scene=sphere n=256 solver=ccmg steps=200
    python scripts/smoke.py scene=spinning_box n=64 dim=3 steps=100
    python scripts/smoke.py scene=bunny solver=dcdm checkpoint=outputs/my_run
    python scripts/smoke.py solver=ccmg,cg rtol=1e-8 top=closed
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from sciml.evaluation.figures import save_figure
from sciml.evaluation.report import environment, write_json
from sciml.evaluation.smoke import make_pressure_method, run_smoke, smoke_table
from sciml.evaluation.smoke_frames import smoke_sheet, write_animation
from sciml.option_types import nearest
from sciml.simulate.smoke_pressure import PressureMethod
from sciml.simulate.smoke_scenes import make_scene
from sciml.solution import SolverError

OPTIONS: dict[str, tuple[Any, str]] = {
    "scene": ("sphere", "plume, sphere, bunny, spinning_box or moving_sphere"),
    "n": (256, "cells along each axis"),
    "dim": (2, "2 or 3 axes"),
    "top": ("open", "open (air above the box) or closed"),
    "steps": (200, "time steps"),
    "solver": ("ccmg", "ccmg, cg or dcdm; several with commas, the first one drives; or all"),
    "rtol": (1e-4, "tolerance of the pressure relative to its right-hand side"),
    "checkpoint": ("", "run folder of a trained network, for dcdm"),
    "every": (0, "steps between frames; 0 for about 50 frames"),
    "output": ("outputs/smoke", "folder for the files"),
}
"""Defaults and meanings."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; the exit status is 1 after an error, which is one line."""
    known = "\n".join(f"  {name}={value}: {text}" for name, (value, text) in OPTIONS.items())
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=f"options with their defaults:\n{known}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("options", nargs="*", metavar="name=value")
    typed = parser.parse_args(arguments).options
    try:
        _simulate(_parse(typed))
    except (ValueError, TypeError, OSError, SolverError) as error:
        print(f"smoke.py: {error}", file=sys.stderr)
        return 1
    return 0


def _simulate(options: dict[str, Any]) -> None:
    """One run with its files, its table and its summary."""
    if options["top"] not in ("open", "closed"):
        raise ValueError(
            f"expected top=open or top=closed, got top={options['top']!r}; choose one"
        )
    scene = make_scene(
        options["scene"], options["n"], ndim=options["dim"], open_top=options["top"] == "open"
    )
    methods = _methods(options)
    folder = Path(options["output"])
    stem = folder / f"{scene.name}_{scene.ndim}d_{options['n']}"
    console = Console(stderr=True)
    bar = iter(
        track(
            range(options["steps"]), "steps", console=console, disable=not console.is_terminal
        )
    )
    run = run_smoke(
        scene,
        methods,
        options["steps"],
        path=stem.with_suffix(".hdf5"),
        every=options["every"] or None,
        progress=lambda _: next(bar),
    )
    next(bar, None)  # lets the bar finish
    write_animation(stem.with_suffix(".gif"), run.pictures)
    save_figure(smoke_sheet({scene.name: run.pictures}), stem.with_suffix(".png"))
    described = {"environment": environment(), "rtol": options["rtol"]} | run.summary()
    write_json(stem.with_suffix(".json"), described)
    Console().print(smoke_table(run))
    print(f"files: {stem}.hdf5, .gif, .png, .json")


def _methods(options: dict[str, Any]) -> dict[str, PressureMethod]:
    """The pressure solvers by name, the driving one first."""
    checkpoint, names = options["checkpoint"] or None, options["solver"].split(",")
    if options["solver"] == "all":
        names = ["ccmg", "cg", *(["dcdm"] if checkpoint else [])]
    if checkpoint and "dcdm" not in names:
        raise ValueError(
            f"expected no checkpoint= without solver=dcdm, got {checkpoint!r}; drop it"
        )
    return {
        name: make_pressure_method(
            name, rtol=options["rtol"], checkpoint=checkpoint if name == "dcdm" else None
        )
        for name in names
    }


def _parse(typed: list[str]) -> dict[str, Any]:
    """Options by name, with the types of their defaults.

    Raises:
        ValueError: If one is unknown, repeated or not of the form name=value, or a value has
            the wrong type.
    """
    found: dict[str, Any] = {}
    for text in typed:
        name, equals, value = text.partition("=")
        if not equals or name not in OPTIONS:
            raise ValueError(
                f"expected name=value with a name among {list(OPTIONS)}, got {text!r}; "
                f"{nearest(name, list(OPTIONS))}see --help"
            )
        if name in found:
            raise ValueError(f"expected {name}= once, got it again as {text!r}; drop one")
        default = OPTIONS[name][0]
        try:
            found[name] = type(default)(value)
        except ValueError as error:
            kind = "an integer" if isinstance(default, int) else "a number"
            raise ValueError(
                f"expected {kind} for {name}=, got {value!r}; correct it"
            ) from error
    return {name: default for name, (default, _) in OPTIONS.items()} | found


if __name__ == "__main__":
    sys.exit(main())

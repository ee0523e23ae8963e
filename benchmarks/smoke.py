"""Time the pressure solves of smoke simulations by solver, and check volume and mass.

The solvers get the same systems in the same run, each started from its own earlier pressures;
the first one drives the simulation. Runs: a still and a moving body in the plane, one in space,
at the tolerance in use and at the tight one, which shows what the divergence costs; with a
trained network also a short run with learned conjugate directions.
"""

import argparse
from pathlib import Path
from typing import Any

import torch
from record import report

from sciml.evaluation.figures import save_figure
from sciml.evaluation.smoke import make_pressure_method, run_smoke
from sciml.evaluation.smoke_frames import smoke_sheet
from sciml.simulate.smoke_scenes import make_scene

SOLVERS = ("ccmg", "cg")
TIGHT = 1e-8


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=256, help="along each axis of the plane")
    parser.add_argument("--cells-in-space", type=int, default=64)
    parser.add_argument("--steps", type=int, default=200, help="in the plane")
    parser.add_argument("--steps-in-space", type=int, default=60)
    parser.add_argument("--steps-when-tight", type=int, default=40)
    parser.add_argument("--rtol", type=float, default=1e-4)
    parser.add_argument("--checkpoint", help="run folder of a network; adds a run with dcdm")
    parser.add_argument("--steps-of-network", type=int, default=20)
    parser.add_argument("--sheet", type=Path, help="also draw the runs as PNG")
    parser.add_argument("--output", type=Path, help="also write the JSON to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    plane, space, tight = options.steps, options.steps_in_space, options.steps_when_tight
    runs = [
        ("sphere", 2, plane, options.rtol),
        ("sphere", 2, tight, TIGHT),
        ("spinning_box", 2, plane, options.rtol),
        ("sphere", 3, space, options.rtol),
    ]
    results, pictures = [], {}
    for name, ndim, num_steps, rtol in runs:
        cells = options.cells if ndim == 2 else options.cells_in_space
        methods = {solver: make_pressure_method(solver, rtol=rtol) for solver in SOLVERS}
        run = run_smoke(make_scene(name, cells, ndim=ndim), methods, num_steps)
        results.append({"rtol": rtol} | run.summary())
        if rtol == options.rtol:
            pictures[f"{name}, {ndim}-D"] = run.pictures
    if options.checkpoint:
        methods = {
            solver: make_pressure_method(solver, rtol=options.rtol) for solver in SOLVERS
        }
        methods["dcdm"] = make_pressure_method(
            "dcdm", rtol=options.rtol, checkpoint=options.checkpoint
        )
        run = run_smoke(make_scene("sphere", options.cells), methods, options.steps_of_network)
        results.append({"rtol": options.rtol} | run.summary())
    if options.sheet is not None:
        save_figure(smoke_sheet(pictures), options.sheet)
    paths = ("output", "sheet", "checkpoint")
    given = {k: v for k, v in vars(options).items() if k not in paths}
    result: dict[str, Any] = {"options": given, "runs": results}
    report(result, options.output)


if __name__ == "__main__":
    main()

"""The comparisons of the other benchmarks on a CUDA device, all sides on it, in one run.

* Spectral layer, forward and backward, against neuraloperator's.
* Truncated spectra: both back ends, and whether the cost model's choice is the faster one.
* Kronecker products, solves and log determinants against linear_operator; Toeplitz solves
  against a dense Cholesky factorisation.
* Cosine and sine transforms against a real FFT of the same array, which costs less than any
  transform that goes through one.
* Conjugate gradients with launched steps against steps replayed from a CUDA graph.

The cases are those of `spectral_layer.py`, `truncated_spectra.py`, `structured_algebra.py` and
`trigonometric.py`. Both sides run in turn; times are those between two CUDA events. A ratio is
the baseline's time over ours, so above 1 ours is faster. ``--device cpu --quick`` shows on any
machine that the script runs; its figures mean nothing.
"""

import argparse
import copy
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import spectral_layer
import structured_algebra
import torch
import trigonometric
import truncated_spectra
from device_clock import Call, compare, peak_bytes, spread
from linear_operator import settings
from linear_operator.operators import DenseLinearOperator, KroneckerProductLinearOperator
from neuralop.layers.spectral_convolution import SpectralConv as ReferenceConv
from record import report

from sciml import CG, KroneckerOperator, SpectralConv, ToeplitzOperator
from sciml.fft.truncated import analyse, kept_modes, synthesise
from sciml.fft.truncated_cost import cheaper_backend, cheapest_form
from sciml.linalg.laplacian import LaplacianOperator

Row = dict[str, Any]


@dataclass(frozen=True)
class Setting:
    """Where and how much.

    Args:
        device: Where all tensors are.
        repetitions: Measurements of each side.
        layer_entries: Largest input of a spectral layer.
        spectra_points: Points of all fields that share one truncated transform.
        unknowns: Largest Kronecker system.
        toeplitz: Largest Toeplitz system.
        transform_points: Largest array of a cosine or sine transform.
        grids: Grids of the conjugate gradients.
    """

    device: torch.device
    repetitions: int
    layer_entries: int = 2**40
    spectra_points: int = 2**24
    unknowns: int = 2**40
    toeplitz: int = 2**40
    transform_points: int = 2**40
    grids: tuple[tuple[int, ...], ...] = ((32, 32), (256, 256), (64, 64, 64))

    def compare(self, calls: dict[str, Call]) -> Row:
        """Times of all sides, and the ratio of the first two."""
        return compare(calls, self.device, self.repetitions)


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--repetitions", type=int, default=15)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--quick", action="store_true", help="the smallest cases only")
    parser.add_argument("--output", type=Path, help="also write the JSON to this file")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        sys.exit(
            "gpu.py: expected a CUDA device, got none; run it on a machine with one, or see "
            "that it runs with --device cpu --quick"
        )
    torch.manual_seed(271828183)
    device = torch.empty(0, device=options.device).device
    setting = Setting(device, options.repetitions)
    if options.quick:
        setting = Setting(
            device, options.repetitions, 2**20, 2**12, 2**9, 512, 2**12, ((16, 16),)
        )
    result: Row = {
        "options": {k: v for k, v in vars(options).items() if k != "output"},
        "device": _described(device),
    }
    for name in options.only:
        result[name] = _summarised(list(SECTIONS[name](setting)))
    report(result, options.output)


def spectral_layers(setting: Setting) -> Iterator[Row]:
    """Forward and backward of the layer, in float32 and, ours only, in bfloat16."""
    for batch, channels, space, modes, *_ in spectral_layer.CASES:
        shape = (batch, channels, *space)
        if torch.Size(shape).numel() > setting.layer_entries:
            continue
        num_modes = (2 * modes,) * len(space)
        reference = ReferenceConv(channels, channels, num_modes)
        layer = SpectralConv(channels, channels, num_modes)
        layer.load_neuraloperator(reference.state_dict())
        sides: dict[str, torch.nn.Module] = {
            "neuraloperator": reference.to(setting.device),
            "sciml": layer.to(setting.device),
            "sciml_bfloat16": copy.deepcopy(layer).to(setting.device, torch.bfloat16),
        }
        u = torch.randn(shape, device=setting.device)
        with torch.no_grad():
            outputs = {name: module(u).float() for name, module in sides.items()}
        steps = {name: _training_step(module, u) for name, module in sides.items()}
        yield {
            "batch": batch,
            "channels": channels,
            "space": space,
            "modes": modes,
            "peak_bytes": {
                name: peak_bytes(step, setting.device) for name, step in steps.items()
            },
            "relative_difference": _difference(outputs["sciml"], outputs["neuraloperator"]),
        } | setting.compare(steps)


def truncated_transforms(setting: Setting) -> Iterator[Row]:
    """Analysis and synthesis by both back ends; regret is the choice over the better."""
    for space, modes in truncated_spectra.SHAPES:
        num_fields = max(1, setting.spectra_points // torch.Size(space).numel())
        kept = kept_modes(modes, space)
        chosen = cheaper_backend(space, kept, setting.device.type)
        for dtype in (torch.float32, torch.bfloat16):
            u = torch.randn(num_fields, *space, device=setting.device).to(dtype)
            calls = {
                backend: _there_and_back(u, modes, backend) for backend in ("fft", "matrix")
            }
            row = setting.compare(calls)
            medians = {name: row["milliseconds"][name]["median"] for name in calls}
            yield {
                "space": space,
                "modes": modes,
                "dtype": _name(dtype),
                "fields": num_fields,
                "form": cheapest_form(space, kept, setting.device.type),
                "chosen": chosen,
                "faster": min(medians, key=lambda name: medians[name]),
                "regret": medians[chosen] / min(medians.values()),
            } | row


def structured_operators(setting: Setting) -> Iterator[Row]:
    """Kronecker and Toeplitz algebra; every call builds its operator anew."""
    with torch.no_grad():
        for num_factors, sizes in structured_algebra.KRONECKER_SIZES.items():
            for size in sizes:
                if size**num_factors <= setting.unknowns:
                    yield from _kronecker([size] * num_factors, setting)
        for column in structured_algebra.COLUMNS:
            for size in structured_algebra.TOEPLITZ_SIZES:
                if size <= setting.toeplitz:
                    yield from _toeplitz(column, size, setting)


def trigonometric_transforms(setting: Setting) -> Iterator[Row]:
    """Over all axes, beside the real FFT of the array."""
    for dtype in (torch.float32, torch.float64):
        for shape in trigonometric.SHAPES:
            if torch.Size(shape).numel() > setting.transform_points:
                continue
            u = torch.randn(shape, device=setting.device, dtype=dtype)
            for name, (transform, *_) in trigonometric.PAIRS.items():
                for kind in (1, 2, 3):
                    calls = {
                        "real_fft": lambda u=u: torch.fft.rfftn(u),
                        "sciml": lambda u=u, transform=transform, kind=kind: transform(
                            u, kind, tuple(range(u.ndim))
                        ),
                    }
                    yield {
                        "transform": f"{name}-{kind}",
                        "shape": shape,
                        "dtype": _name(dtype),
                    } | setting.compare(calls)


def graphed_steps(setting: Setting) -> Iterator[Row]:
    """Solves by CG on Poisson problems, steps launched and replayed, recording included."""
    steps = 400
    for grid in setting.grids:
        operator = LaplacianOperator(grid, dtype=torch.float64, device=setting.device)
        b = torch.randn(grid, dtype=torch.float64, device=setting.device)
        solvers = {
            name: CG(rtol=1e-15, max_steps=steps, check_every=steps, cuda_graph=name == "graph")
            for name in ("launched", "graph")
        }
        calls = {
            name: lambda solver=solver, operator=operator, b=b: solver.solve(operator, b)
            for name, solver in solvers.items()
        }
        values = [call().value for call in calls.values()]
        yield {
            "grid": grid,
            "steps": steps,
            "relative_difference": _difference(*values),
        } | setting.compare(calls)


SECTIONS: dict[str, Callable[[Setting], Iterator[Row]]] = {
    "spectral_layer": spectral_layers,
    "truncated_spectra": truncated_transforms,
    "structured_algebra": structured_operators,
    "trigonometric": trigonometric_transforms,
    "conjugate_gradients": graphed_steps,
}


def _kronecker(sizes: list[int], setting: Setting) -> Iterator[Row]:
    column = structured_algebra.COLUMNS["exponential"](sizes[0]).to(setting.device)
    factor = ToeplitzOperator(column).to_dense().contiguous()
    factors = [factor] * len(sizes)
    field = torch.randn(*sizes, dtype=torch.float64, device=setting.device)
    flat = field.reshape(-1, 1)

    def ours() -> KroneckerOperator:
        return KroneckerOperator(factors, positive_definite=True)

    def theirs() -> KroneckerProductLinearOperator:
        return KroneckerProductLinearOperator(*map(DenseLinearOperator, factors))

    operations: dict[str, tuple[Call, Call]] = {
        "matmul": (lambda: theirs() @ flat, lambda: ours() @ field),
        "solve": (lambda: theirs().solve(flat), lambda: ours().solve(field)),
        "logdet": (lambda: theirs().logdet(), lambda: ours().logdet()),
    }
    # their conjugate gradients stop at a far larger residual
    with settings.fast_computations(solves=False, log_prob=False):
        for operation, (other, mine) in operations.items():
            yield {
                "operator": "kronecker",
                "factors": len(sizes),
                "size": sizes[0],
                "operation": operation,
                "relative_difference": _difference(mine().flatten(), other().flatten()),
            } | setting.compare({"linear_operator": other, "sciml": mine})


def _toeplitz(name: str, size: int, setting: Setting) -> Iterator[Row]:
    column = structured_algebra.COLUMNS[name](size).to(setting.device)
    for count in (1, 16):
        right = torch.randn(count, size, dtype=torch.float64, device=setting.device)

        def dense(right: torch.Tensor = right) -> torch.Tensor:
            matrix = ToeplitzOperator(column).to_dense()
            return torch.cholesky_solve(right.T, torch.linalg.cholesky(matrix)).T

        def ours(right: torch.Tensor = right) -> torch.Tensor:
            return ToeplitzOperator(column, positive_definite=True).solve(right)

        yield {
            "operator": "toeplitz",
            "column": name,
            "size": size,
            "right_hand_sides": count,
            "operation": "solve",
            "relative_difference": _difference(ours(), dense()),
        } | setting.compare({"dense_cholesky": dense, "sciml": ours})


def _training_step(layer: torch.nn.Module, u: torch.Tensor) -> Call:
    dtype = next(layer.parameters()).real.dtype
    field = u.to(dtype).requires_grad_()
    cotangent = torch.randn_like(field.detach())

    def run() -> None:
        layer.zero_grad()
        field.grad = None
        layer(field).backward(cotangent)

    return run


def _there_and_back(u: torch.Tensor, modes: tuple[int, ...], backend: Any) -> Call:
    space = u.shape[1:]
    return lambda: synthesise(analyse(u, modes, backend=backend), space, backend=backend)


def _summarised(rows: list[Row]) -> Row:
    ratios = [row["ratio"]["median"] for row in rows]
    summary: Row = {"ratio": spread(ratios)}
    regrets = [row["regret"] for row in rows if "regret" in row]
    if regrets:
        summary["worst_regret"] = max(regrets)
        summary["within_15_percent"] = sum(regret <= 1.15 for regret in regrets)
    return summary | {"rows": rows}


def _described(device: torch.device) -> Row:
    if device.type == "cpu":
        return {"name": "cpu"}
    properties = torch.cuda.get_device_properties(device)
    return {
        "name": properties.name,
        "capability": [properties.major, properties.minor],
        "memory_bytes": properties.total_memory,
        "cudnn": torch.backends.cudnn.version(),
        "tf32": torch.backends.cuda.matmul.allow_tf32,
    }


def _difference(a: torch.Tensor, b: torch.Tensor) -> float:
    """Relative difference in the 2-norm."""
    return float((a - b).norm() / b.norm())


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


if __name__ == "__main__":
    main()

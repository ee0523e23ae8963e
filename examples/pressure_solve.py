"""A pressure solve by scipy's conjugate gradients, and the line that replaces it.

Everything up to the solve is what such a script has already: cell flags, the matrix assembled
from them, a right-hand side. The replacement takes the flags instead of the matrix.

    python examples/pressure_solve.py
    python examples/pressure_solve.py --cells 512
"""

import argparse
import time

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import cg

from sciml import PoissonOperator, linear_solve

SOLID, FLUID, AIR = 1, 2, 3


def make_flags(num_cells: int) -> NDArray[np.uint8]:
    """A tank with a disc and a wall in it, open at the top."""
    x, y = np.meshgrid(*[(np.arange(num_cells) + 0.5) / num_cells] * 2, indexing="ij")
    flags = np.full((num_cells, num_cells), FLUID, np.uint8)
    flags[:, -1] = AIR
    flags[(x - 0.3) ** 2 + (y - 0.5) ** 2 < 0.15**2] = SOLID
    flags[(np.abs(x - 0.7) < 0.02) & (y < 0.6)] = SOLID
    return flags


def assemble(flags: NDArray[np.uint8]) -> sparse.csr_matrix:
    """The usual matrix: a link between open cells, one to air, none into solids."""
    number = np.arange(flags.size).reshape(flags.shape)
    rows, columns, values = [], [], []
    for axis in range(flags.ndim):
        for shift in (1, -1):
            neighbour = np.roll(flags, shift, axis)
            other = np.roll(number, shift, axis)
            edge = [slice(None)] * flags.ndim
            edge[axis] = slice(0, 1) if shift == 1 else slice(-1, None)
            neighbour[tuple(edge)] = SOLID
            open_ = (flags == FLUID) & (neighbour != SOLID)
            linked = open_ & (neighbour == FLUID)
            rows += [number[open_], number[linked]]
            columns += [number[open_], other[linked]]
            values += [np.ones(open_.sum()), -np.ones(linked.sum())]
    entries = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
    return sparse.coo_matrix(entries, (flags.size, flags.size)).tocsr()


def main(arguments: list[str] | None = None) -> None:
    """Solve the same system by both and print what each took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=256, help="cells along each axis")
    options = parser.parse_args(arguments)
    flags = make_flags(options.cells)
    A = assemble(flags)
    b = np.where(
        flags == FLUID, np.random.default_rng(20240229).standard_normal(flags.shape), 0
    )

    start = time.perf_counter()
    before, _ = cg(A, b.ravel(), rtol=1e-6, maxiter=100_000)
    middle = time.perf_counter()
    after = linear_solve(PoissonOperator(flags), b, rtol=1e-6).value  # the line
    end = time.perf_counter()

    for name, p, seconds in (
        ("scipy.sparse.linalg.cg", before, middle - start),
        ("sciml.linear_solve", after.ravel(), end - middle),
    ):
        residual = np.linalg.norm(b.ravel() - A @ p) / np.linalg.norm(b)
        print(f"{name:24s} {1e3 * seconds:9.1f} ms   relative residual {residual:.1e}")
    difference = np.linalg.norm(after.ravel() - before) / np.linalg.norm(before)
    print(f"relative difference of the solutions: {difference:.1e}")


if __name__ == "__main__":
    main()

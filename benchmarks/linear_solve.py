"""Linear solves against scipy and pyamg, one thread, side by side.

Every row solves the same system to the same tolerance on both sides and times whole calls, from
the matrix in its usual form to the solution: times are interleaved, the ratio is theirs over
ours, and both true residuals and step counts stand beside it.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import scipy.fft
import scipy.linalg
import scipy.sparse.linalg as scipy_solvers
import torch
from record import report
from scipy import sparse
from structured_algebra import compare

from sciml import CG, ToeplitzOperator, linear_solve
from sciml.linalg.dense import DenseOperator
from sciml.linalg.laplacian import LaplacianOperator
from sciml.linalg.preconditioners.algebraic import AlgebraicMultigrid
from sciml.linalg.preconditioners.incomplete import IncompleteCholesky
from sciml.linalg.solvers.bicgstab import BiCGStab
from sciml.linalg.solvers.gmres import GMRES
from sciml.linalg.solvers.minres import MINRES
from sciml.linalg.sparse import SparseOperator

RTOL = 1e-8
Array = np.ndarray[Any, np.dtype[np.float64]]


@dataclass
class Contest:
    """One system and two ways to solve it.

    Args:
        name: Of the row.
        matrix: A x for the residuals.
        b: Right-hand side.
        ours: Solves and returns x and the number of steps, None for direct methods.
        theirs: The same by the other library.
        other: Its name.
    """

    name: str
    matrix: Callable[[Array], Array]
    b: Array
    ours: Callable[[], tuple[Array, int | None]]
    theirs: Callable[[], tuple[Array, int | None]]
    other: str = "scipy"
    notes: dict[str, Any] = field(default_factory=dict)

    def row(self, budget: tuple[int, float]) -> dict[str, Any]:
        """Times, steps and true residuals."""
        sides = {"sciml": self.ours(), self.other: self.theirs()}
        norm = np.linalg.norm(self.b)
        return (
            {"name": self.name}
            | self.notes
            | compare(self.ours, self.theirs, self.other, budget)
            | {
                "steps": {side: steps for side, (_, steps) in sides.items()},
                "relative_residual": {
                    side: float(np.linalg.norm(self.b - self.matrix(x)) / norm)
                    for side, (x, _) in sides.items()
                },
            }
        )


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=12.0, help="budget of one row")
    parser.add_argument("--quick", action="store_true", help="small systems only")
    parser.add_argument("--only", help="rows whose name contains this")
    parser.add_argument("--output", type=Path, help="also write the JSON to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    contests = [
        *sparse_contests((64, 64) if options.quick else (256, 256)),
        *sparse_contests((16, 16, 16) if options.quick else (64, 64, 64)),
        *box_contests((128, 128) if options.quick else (512, 512)),
        *box_contests((24, 24, 24) if options.quick else (64, 64, 64)),
        *dense_contests(200 if options.quick else 1000),
        toeplitz_contest(1024),
        toeplitz_contest(2048),
    ]
    budget = (options.repetitions, options.seconds)
    rows = []
    for contest in contests:
        if options.only is None or options.only in contest.name:
            start = time.perf_counter()
            rows.append(contest.row(budget))
            rows[-1]["benchmark_seconds"] = time.perf_counter() - start
    ratios = {row["name"]: round(row["ratio"]["median"], 3) for row in rows}
    result = {
        "options": {k: v for k, v in vars(options).items() if k != "output"},
        "rtol": RTOL,
        "rows": rows,
        "ratios": ratios,
    }
    report(result, options.output)


def poisson(shape: tuple[int, ...]) -> sparse.csr_matrix:
    """The 5- or 7-point matrix with Dirichlet sides, diagonal 4 or 6."""
    total: Any = 0
    for axis, size in enumerate(shape):
        line = sparse.diags([-1.0, 2.0, -1.0], [-1, 0, 1], (size, size))
        before, after = int(np.prod(shape[:axis])), int(np.prod(shape[axis + 1 :]))
        total = total + sparse.kron(sparse.kron(sparse.eye(before), line), sparse.eye(after))
    return sparse.csr_matrix(total)


def convection(matrix: sparse.csr_matrix) -> sparse.csr_matrix:
    """The matrix plus upwinded transport along the last axis, not symmetric."""
    size = matrix.shape[0]
    return sparse.csr_matrix(matrix + sparse.diags([-0.4, 0.4], [-1, 0], (size, size)))


def noise(size: int) -> Array:
    """A right-hand side with all frequencies."""
    return np.random.default_rng(271828183).standard_normal(size)


def sparse_contests(shape: tuple[int, ...]) -> list[Contest]:
    """Iterations on a matrix of scipy.sparse, plain and preconditioned."""
    label = "x".join(map(str, shape))
    matrix = poisson(shape)
    b, transport = noise(matrix.shape[0]), convection(matrix)
    incomplete = IncompleteCholesky(matrix)
    solve_incomplete = scipy_solvers.LinearOperator(
        matrix.shape,
        lambda r: incomplete.triangle.solve(incomplete.triangle.solve(r, trans="N"), trans="T"),
    )
    multigrid = AlgebraicMultigrid(matrix)

    def ours(
        solver: Any, A: sparse.csr_matrix, preconditioner: Any = None
    ) -> Callable[[], tuple[Array, int]]:
        def run() -> tuple[Array, int]:
            definite = A is matrix
            operator = SparseOperator.from_scipy(A, positive_definite=definite)
            right = torch.from_numpy(b)
            solution = linear_solve(operator, right, solver, preconditioner=preconditioner)
            return solution.value.numpy(), solution.num_steps

        return run

    def contest(
        name: str, solver: Any, function: Any, A: sparse.csr_matrix = matrix, **rest: Any
    ) -> Contest:
        preconditioner = rest.pop("preconditioner", None)
        return Contest(
            f"{name} poisson {label}",
            lambda x: A @ x,
            b,
            ours(solver, A, preconditioner),
            counted(function, A, b, **rest),
        )

    cg, minres = CG(rtol=RTOL), MINRES(rtol=RTOL)
    rows = [
        contest("cg", cg, scipy_solvers.cg),
        contest("minres", minres, scipy_solvers.minres),
        contest("bicgstab convection", BiCGStab(rtol=RTOL), scipy_solvers.bicgstab, transport),
        contest(
            "ic(0)-gmres(30) convection",
            GMRES(rtol=RTOL),
            scipy_solvers.gmres,
            transport,
            restart=30,
            maxiter=1000,
            callback_type="pr_norm",
            preconditioner=incomplete,
            M=solve_incomplete,
        ),
        contest(
            "ic(0)-cg", cg, scipy_solvers.cg, preconditioner=incomplete, M=solve_incomplete
        ),
        contest("pyamg-cg", cg, scipy_solvers.cg, preconditioner=multigrid, M=multigrid.cycle),
    ]
    if len(shape) == 2:
        direct = Contest(
            f"cg against spsolve poisson {label}",
            lambda x: matrix @ x,
            b,
            ours(cg, matrix),
            lambda: (scipy_solvers.spsolve(matrix.tocsc(), b), None),
        )
        rows.append(direct)
    return rows


def counted(
    function: Any, A: sparse.csr_matrix, b: Array, **rest: Any
) -> Callable[[], tuple[Array, int]]:
    """A method of scipy with its number of steps."""
    # its minres stops by an estimate that includes the norm of x; this meets the residual
    rtol = RTOL if function is not scipy_solvers.minres else 1e-4 * RTOL

    def run() -> tuple[Array, int]:
        steps = 0

        def count(_: Any) -> None:
            nonlocal steps
            steps += 1

        return function(A, b, rtol=rtol, callback=count, **rest)[0], steps

    return run


def box_contests(shape: tuple[int, ...]) -> list[Contest]:
    """The Laplacian of a box by its transforms, against scipy's and against sparse LU."""
    label = "x".join(map(str, shape))
    matrix, b = poisson(shape), noise(int(np.prod(shape)))
    operator = LaplacianOperator(
        shape, 1.0, boundary="dirichlet", grid="vertex", dtype=torch.float64
    )
    right = torch.from_numpy(b.reshape(shape))

    def ours() -> tuple[Array, None]:
        return linear_solve(operator, right, rtol=RTOL).value.numpy().ravel(), None

    def transforms() -> tuple[Array, None]:
        coefficients = scipy.fft.dstn(b.reshape(shape), type=1)
        eigenvalues: Any = 0
        for axis, size in enumerate(shape):
            angle = np.pi * np.arange(1, size + 1) / (2 * (size + 1))
            line = [1] * len(shape)
            line[axis] = size
            eigenvalues = eigenvalues + (4 * np.sin(angle) ** 2).reshape(line)
        return scipy.fft.idstn(coefficients / eigenvalues, type=1).ravel(), None

    rows = [
        Contest(f"box against dstn {label}", lambda x: matrix @ x, b, ours, transforms, "dstn")
    ]
    if len(shape) == 2:
        factor = Contest(
            f"box against spsolve {label}",
            lambda x: matrix @ x,
            b,
            ours,
            lambda: (scipy_solvers.spsolve(matrix.tocsc(), b), None),
            "spsolve",
        )
        rows.append(factor)
    return rows


def dense_contests(size: int) -> list[Contest]:
    """A dense positive definite matrix of condition number about 1e3."""
    root = np.random.default_rng(314159265).standard_normal((size, size))
    matrix, b = root @ root.T / size + 4e-3 * np.eye(size), noise(size)
    operator = DenseOperator(torch.from_numpy(matrix), positive_definite=True)
    right = torch.from_numpy(b)

    def iterate() -> tuple[Array, int]:
        solution = linear_solve(operator, right, CG(rtol=RTOL))
        return solution.value.numpy(), solution.num_steps

    return [
        Contest(
            f"cg dense {size}",
            lambda x: matrix @ x,
            b,
            iterate,
            counted(scipy_solvers.cg, matrix, b),
        ),
        Contest(
            f"cholesky dense {size}",
            lambda x: matrix @ x,
            b,
            lambda: (linear_solve(operator, right, rtol=RTOL).value.numpy(), None),
            lambda: (scipy.linalg.solve(matrix, b, assume_a="pos"), None),
        ),
    ]


def toeplitz_contest(size: int) -> Contest:
    """A well-conditioned positive definite Toeplitz matrix."""
    column, b = (1.0 + np.arange(size)) ** -1.1, noise(size)
    operator = ToeplitzOperator(torch.from_numpy(column), positive_definite=True)
    right = torch.from_numpy(b)

    def ours() -> tuple[Array, None]:
        return linear_solve(operator.with_tensors([operator.column]), right).value.numpy(), None

    return Contest(
        f"toeplitz {size}",
        lambda x: scipy.linalg.matmul_toeplitz(column, x),
        b,
        ours,
        lambda: (scipy.linalg.solve_toeplitz(column, b), None),
    )


if __name__ == "__main__":
    main()

import sys

import pytest
import torch

from sciml.linalg.poisson import PoissonOperator
from sciml.linalg.preconditioners.multigrid import which
from sciml.linalg.preconditioners.multigrid.kernels import HostKernels
from sciml.linalg.preconditioners.multigrid.kernels_torch import TorchKernels
from sciml.linalg.preconditioners.multigrid.solver import MultigridCG
from sciml.linalg.preconditioners.multigrid.which import choose_kernels
from sciml.simulate.geometry import make_flags, right_hand_side

SEED = 27_182_819
CPU = torch.device("cpu")


def system() -> tuple[PoissonOperator, torch.Tensor]:
    flags = make_flags("random", (64, 64), seed=SEED)
    operator = PoissonOperator(torch.from_numpy(flags))
    return operator, operator.project(torch.from_numpy(right_hand_side(flags, seed=SEED)))


def test_torch_away_from_the_cpu() -> None:
    assert isinstance(choose_kernels(torch.device("meta"), None), TorchKernels)


def test_numba_once_it_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba")
    monkeypatch.setattr(which.cycles_run, "value", 0)
    assert isinstance(choose_kernels(CPU, None), HostKernels)
    monkeypatch.setattr(which.cycles_run, "value", which.WARM_UP + 1)
    assert type(choose_kernels(CPU, None)).__name__ == "CompiledKernels"
    assert isinstance(choose_kernels(CPU, False), HostKernels)


def test_without_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(which.cycles_run, "value", which.WARM_UP + 1)
    monkeypatch.setattr(which, "has_numba", lambda: False)
    assert isinstance(choose_kernels(CPU, None), HostKernels)
    module = "sciml.linalg.preconditioners.multigrid.kernels_numba"
    monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setitem(sys.modules, "numba", None)
    with pytest.raises(ImportError, match="choose_kernels: expected numba to be installed"):
        choose_kernels(CPU, True)


def test_a_hierarchy_is_made_again_when_numba_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba")
    operator, b = system()
    monkeypatch.setattr(which.cycles_run, "value", 0)
    plain = MultigridCG(rtol=1e-9).solve(operator, b)
    assert which.cycles_run.value == plain.num_steps
    compiled = MultigridCG(rtol=1e-9, compiled=True).solve(operator, b)
    (hierarchy,) = operator.derived.values()
    assert type(hierarchy.kernels).__name__ == "CompiledKernels"
    assert compiled.num_steps == plain.num_steps
    assert (compiled.value - plain.value).norm() < 1e-7 * plain.value.norm()


@pytest.mark.gpu
@pytest.mark.parametrize("kind", ["random", "freesurf", "thin"])
@pytest.mark.parametrize("shape", [(256, 256), (48, 40, 44)])
def test_cuda_equals_the_cpu(kind: str, shape: tuple[int, ...]) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs CUDA")
    flags = torch.from_numpy(make_flags(kind, shape, seed=SEED))  # type: ignore[arg-type]
    b = torch.from_numpy(right_hand_side(flags.numpy(), seed=SEED))
    found = []
    for device in ("cpu", "cuda"):
        operator = PoissonOperator(flags.to(device))
        right = operator.project(b.to(device))
        solution = MultigridCG(rtol=1e-9).solve(operator, right)
        assert solution
        found.append(operator.project(solution.value).cpu())
    assert (found[0] - found[1]).norm() < 1e-6 * found[0].norm()

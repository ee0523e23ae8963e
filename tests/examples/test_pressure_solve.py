import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest

from sciml.linalg.poisson import PoissonOperator

SCRIPT = Path(__file__).parents[2] / "examples" / "pressure_solve.py"


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("pressure_solve", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_both_solves_meet_the_tolerance_and_agree(example, capsys):
    example.main(["--cells", "40"])
    text = capsys.readouterr().out
    residuals = re.findall(r"relative residual (\S+)", text)
    assert len(residuals) == 2
    assert all(float(residual) <= 1.05e-6 for residual in residuals)
    assert float(re.search(r"difference of the solutions: (\S+)", text)[1]) < 1e-4


def test_the_matrix_of_the_script_is_the_operator(example):
    flags = example.make_flags(17)
    difference = example.assemble(flags) - PoissonOperator(flags).to_csr()
    assert np.abs(difference).max() == 0
    assert example.assemble(flags).nnz > 1000


def test_only_one_line_names_the_replacement():
    lines = [line for line in SCRIPT.read_text().splitlines() if "linear_solve(" in line]
    assert len(lines) == 1

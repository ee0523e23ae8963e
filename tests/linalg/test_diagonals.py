import pytest
import scipy.sparse
import torch

import sciml.linalg.diagonals as diagonals_module
from sciml.linalg.diagonals import Diagonals
from tests.linalg.systems import random


@pytest.fixture(autouse=True)
def _small_matrices_too(monkeypatch):
    monkeypatch.setattr(diagonals_module, "_MIN_ROWS", 1)


def entries(matrix):
    coordinates = scipy.sparse.coo_array(matrix)
    rows, columns = (torch.from_numpy(index.astype("int64")) for index in coordinates.coords)
    return torch.from_numpy(coordinates.data), rows, columns


def stencil(rows, columns, offsets):
    bands = [k + 1.5 for k in range(len(offsets))]
    return scipy.sparse.diags(bands, offsets, shape=(rows, columns), format="csr")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [(1, 1), (6, 6), (5, 9), (9, 5), (30, 31)])
@pytest.mark.parametrize("cache", [1, 40, 10**6])
def test_product_equals_dense(size, dtype, cache, monkeypatch):
    monkeypatch.setattr(diagonals_module, "_CACHED_ENTRIES", cache)
    matrix = stencil(*size, [k for k in (-4, -1, 0, 2) if -size[0] < k < size[1]])
    values, rows, columns = entries(matrix)
    form = Diagonals.of_entries(values.to(dtype), rows, columns, size)
    dense = torch.from_numpy(matrix.toarray()).to(dtype)
    for batch in ((), (1,), (2, 3)):
        x = random(*batch, size[1], dtype=dtype)
        torch.testing.assert_close(form.mv(x), x @ dense.T)


def test_equal_positions_add_up():
    index = torch.tensor([0, 1, 1])
    form = Diagonals.of_entries(torch.tensor([1.0, 2.0, 5.0]), index, index, (2, 2))
    assert torch.equal(form.mv(torch.tensor([10.0, 1.0])), torch.tensor([10.0, 7.0]))


@pytest.mark.parametrize(
    "matrix",
    [
        scipy.sparse.random(200, 200, 0.3, random_state=918273),  # too many diagonals
        stencil(100, 100, list(range(-20, 21))),
        scipy.sparse.coo_array(([1.0, 1.0], ([0, 99], [99, 0])), shape=(100, 100)),  # empty
    ],
)
def test_others_are_left_to_other_forms(matrix):
    assert Diagonals.of_entries(*entries(matrix), matrix.shape) is None


def test_small_matrices_are_left_to_other_forms(monkeypatch):
    monkeypatch.setattr(diagonals_module, "_MIN_ROWS", 31)
    for size, served in ((30, False), (31, True)):
        form = Diagonals.of_entries(*entries(stencil(size, size, [-1, 0])), (size, size))
        assert (form is not None) is served

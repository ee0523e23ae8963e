import pytest
from tensorly.cp_tensor import validate_cp_rank
from tensorly.tucker_tensor import validate_tucker_rank

from sciml.nn.tensor_rank import cp_rank, tucker_rank


@pytest.mark.parametrize(
    "sizes", [(32, 32, 16, 9), (64, 64, 64, 33), (3, 4, 6, 5), (16, 16, 8)]
)
@pytest.mark.parametrize("fraction", [0.5, 0.1, 0.01])
def test_ranks_of_a_fraction_equal_tensorly(sizes, fraction):
    assert cp_rank(sizes, fraction) == max(1, validate_cp_rank(sizes, fraction))
    assert tucker_rank(sizes, fraction) == tuple(validate_tucker_rank(sizes, fraction))
    assert cp_rank(sizes, 7) == 7
    assert tucker_rank(sizes, 3) == (3,) * len(sizes)


def test_a_fraction_leaves_that_share_of_the_parameters():
    sizes = (64, 64, 64, 33)
    dense = 64 * 64 * 64 * 33
    assert abs(cp_rank(sizes, 0.05) * sum(sizes) / dense - 0.05) < 1e-4
    ranks = tucker_rank(sizes, 0.05)
    core = ranks[0] * ranks[1] * ranks[2] * ranks[3]
    factors = sum(size * rank for size, rank in zip(sizes, ranks, strict=True))
    assert abs((core + factors) / dense - 0.05) < 3e-3


def test_at_least_one_term():
    assert cp_rank((2, 2, 2), 1e-3) == 1
    assert tucker_rank((2, 2, 2), 1e-3) == (1, 1, 1)


def test_errors_say_what_to_do():
    with pytest.raises(ValueError, match="cp_rank: expected a positive integer or a fraction"):
        cp_rank((2, 2, 2), 1.5)
    with pytest.raises(ValueError, match=r"1 is one term, 1\.0 the size of the dense weight"):
        tucker_rank((2, 2, 2), 0)
    with pytest.raises(ValueError, match="tucker_rank: expected 3 positive ranks"):
        tucker_rank((2, 2, 2), (2, 2))
    with pytest.raises(ValueError, match="input channels, output channels, then the axes"):
        tucker_rank((2, 2, 2), (2, 0, 2))

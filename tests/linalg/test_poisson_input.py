"""What a pressure operator refuses, and how it says so."""

import numpy as np
import pytest
import torch

from sciml.linalg.poisson import PoissonOperator

DOUBLE = torch.float64
GOOD = np.full((4, 5), 2, np.uint8)
REFUSED = [
    (TypeError, "expected integer flags.*got float64", {"flags": GOOD * 1.0}),
    (TypeError, "expected integer flags.*got bool", {"flags": GOOD > 1}),
    (
        ValueError,
        "flags 0 or 1.*got values from 2 to 4",
        {"flags": GOOD + 2 * np.eye(4, 5, dtype=int)},
    ),
    (ValueError, "got values from -1", {"flags": -np.eye(4, 5, dtype=np.int8)}),
    (ValueError, r"two or three axes, got \(4,\)", {"flags": GOOD[:, 0]}),
    (ValueError, r"two or three axes, got \(1, 1, 4, 5\)", {"flags": GOOD[None, None]}),
    (ValueError, "leading axes of a batch", {"flags": GOOD, "num_axes": 3}),
    (ValueError, "at least one cell", {"flags": GOOD[:0]}),
    (ValueError, "at least one fluid cell", {"flags": GOOD // 2}),
    (
        ValueError,
        "at least one fluid cell",
        {"flags": np.stack([GOOD, GOOD + 1]), "num_axes": 2},
    ),
    (ValueError, "got values from -", {"flags": np.full((4, 5), 2**64 - 1, np.uint64)}),
    (ValueError, r"torch\.float64 holds 1 / h², got 1e-200", {"spacing": 1e-200}),
    (ValueError, r"holds 1 / h²", {"spacing": 1e-25, "dtype": torch.float32}),
    (ValueError, "one positive spacing", {"spacing": 0.0}),
    (ValueError, "one positive spacing", {"spacing": (1.0, -1.0)}),
    (ValueError, "one positive spacing", {"spacing": float("nan")}),
    (ValueError, "for each of 2 axes", {"spacing": (1.0, 1.0, 1.0)}),
    (ValueError, "positive and finite coefficients, got 20", {"coefficients": 0.0 * GOOD}),
    (ValueError, "got 20 others", {"coefficients": np.nan * GOOD}),
    (ValueError, r"coefficients of the shape.*got \(5, 4\)", {"coefficients": np.ones((5, 4))}),
    (TypeError, "real floating-point coefficients", {"coefficients": GOOD}),
    (ValueError, "face_fraction of shapes", {"face_fraction": [np.ones((5, 5))]}),
    (
        ValueError,
        r"got \[\(4, 5\), \(4, 6\)\]",
        {"face_fraction": [np.ones((4, 5)), np.ones((4, 6))]},
    ),
    (
        ValueError,
        "between 0 and 1, got 24 others on axis 1",
        {"face_fraction": [np.ones((5, 5)), np.full((4, 6), 1.5)]},
    ),
    (
        ValueError,
        "got 25 others on axis 0",
        {"face_fraction": [np.full((5, 5), np.nan), np.ones((4, 6))]},
    ),
    (
        TypeError,
        "expected coefficients on cpu, where the flags are, got meta",
        {"coefficients": torch.ones(4, 5, device="meta")},
    ),
]


@pytest.mark.parametrize(("error", "message", "options"), REFUSED)
def test_bad_input_is_refused_in_words(error, message, options):
    with pytest.raises(error, match=f"PoissonOperator: .*{message}"):
        PoissonOperator(**{"flags": GOOD, **options})


def test_bad_fields_are_refused_in_words():
    operator = PoissonOperator(GOOD)
    u, v = torch.zeros(5, 5, dtype=DOUBLE), torch.zeros(4, 6, dtype=DOUBLE)
    with pytest.raises(ValueError, match=r"mv: expected a field of shape \(\*batch, 4, 5\)"):
        operator.mv(u)
    with pytest.raises(ValueError, match="gradient: expected a field of shape"):
        operator.gradient(u)
    for velocity in ([u], [v, u], [u, v[0]]):
        with pytest.raises(ValueError, match="divergence: expected velocities of shapes"):
            operator.divergence(velocity)
    with pytest.raises(TypeError, match=r"expected velocities of torch\.float64 on cpu"):
        operator.divergence([u, v.float()])


@pytest.mark.parametrize("kind", ["i1", "i2", "<i4", ">i4", "i8", "u1", ">u2", "u4", "u8"])
def test_flags_of_any_integer_type_and_byte_order(kind):
    flags = GOOD.copy()
    flags[1, 2], flags[0, 0] = 1, 3
    expected = PoissonOperator(flags).to_csr()
    for given in (flags.astype(kind), np.asfortranarray(flags).astype(kind)):
        assert abs(PoissonOperator(given).to_csr() - expected).max() == 0


@pytest.mark.parametrize("kind", [torch.uint16, torch.uint32, torch.uint64, torch.int16])
def test_flag_tensors_of_any_integer_type(kind):
    operator = PoissonOperator(torch.from_numpy(GOOD).to(kind))
    assert torch.equal(operator.flags, torch.from_numpy(GOOD))


def test_weights_in_foreign_byte_order():
    kappa = np.linspace(1.0, 2.0, 20).reshape(4, 5)
    operator = PoissonOperator(GOOD, coefficients=kappa.astype(">f8"))
    assert np.array_equal(operator.coefficients.numpy(), kappa)


def test_numpy_fields_are_answered_in_kind():
    flags = GOOD.copy()
    flags[1, 2] = 1
    operator = PoissonOperator(flags)
    x = np.random.default_rng(71993).standard_normal((3, 4, 5))
    image, projected = operator @ x, operator.project(x)
    assert isinstance(image, np.ndarray)
    assert np.array_equal(image, operator.mv(torch.from_numpy(x)).numpy())
    assert isinstance(projected, np.ndarray)
    assert np.array_equal(projected, operator.project(torch.from_numpy(x)).numpy())
    with pytest.raises(TypeError, match="field of float32 or float64, got int64"):
        operator @ np.ones((4, 5), dtype=np.int64)


def test_velocities_and_pressures_come_back_in_kind():
    flags = np.full((5, 7), 2)
    flags[2, 3] = 1
    operator = PoissonOperator(flags, 0.5)
    generator = np.random.default_rng(640007)
    velocity = [generator.standard_normal(shape) for shape in ((6, 7), (5, 8))]
    outflow = operator.divergence(velocity)
    assert isinstance(outflow, np.ndarray)
    expected = operator.divergence([torch.from_numpy(u) for u in velocity])
    assert np.array_equal(outflow, expected.numpy())
    pressure = generator.standard_normal((5, 7))
    slopes = operator.gradient(pressure)
    assert [type(u) for u in slopes] == [np.ndarray, np.ndarray]
    assert np.allclose(operator.divergence(slopes), -(operator @ pressure), atol=1e-12)
    with pytest.raises(TypeError, match="expected a field of float32 or float64, got int64"):
        operator.gradient(flags.astype(np.int64))

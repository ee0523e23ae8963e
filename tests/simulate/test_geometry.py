"""Test domains: what is where, reproducible, in two and three dimensions."""

import numpy as np
import pytest
from scipy import ndimage

from sciml.simulate.geometry import (
    AIR,
    FLUID,
    SOLID,
    make_flags,
    reference_box,
    right_hand_side,
    smooth_coefficients,
)

KINDS = ["box", "sphere", "random", "dense", "freesurf", "opentop", "thin"]
SEED = 71993


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(64, 64), (48, 33), (24, 25, 27), (3, 4)])
def test_flags_depend_on_kind_shape_and_seed_alone(kind, shape):
    flags = make_flags(kind, shape, seed=SEED)
    assert flags.shape == shape
    assert flags.dtype == np.uint8
    assert set(np.unique(flags)) <= {SOLID, FLUID, AIR}
    assert (flags == FLUID).any()
    np.testing.assert_array_equal(flags, make_flags(kind, shape, seed=SEED))
    assert (AIR in flags) == (kind in ("freesurf", "opentop"))


@pytest.mark.parametrize("kind", ["random", "dense", "freesurf", "thin"])
def test_another_seed_draws_another_domain(kind):
    flags = make_flags(kind, (64, 64), seed=SEED)
    assert (flags != make_flags(kind, (64, 64), seed=SEED + 2)).any()


def test_volumes():
    def solid(kind, shape):
        return float((make_flags(kind, shape, seed=SEED) == SOLID).mean())

    assert solid("sphere", (256, 256)) == pytest.approx(np.pi * 0.18**2, rel=0.01)
    assert solid("sphere", (64, 64, 64)) == pytest.approx(4 / 3 * np.pi * 0.18**3, rel=0.03)
    assert 0.02 < solid("random", (128, 128)) < 0.3
    assert 0.05 < solid("dense", (128, 128)) < 0.4
    surface = make_flags("freesurf", (96, 96), seed=SEED)
    heights = (surface != AIR).sum(-1) / 96
    assert 0.48 < heights.min() < heights.max() < 0.62
    assert (np.diff((surface == AIR).astype(int), axis=-1) >= 0).all()  # the air is on top


def test_small_obstacles_are_resolved():
    """Half-sizes of .01 span two cells and more at 256."""
    flags = make_flags("dense", (256, 256), seed=SEED)
    _, count = ndimage.label(flags == SOLID)
    assert 25 < count <= 60


@pytest.mark.parametrize("shape", [(64, 48), (24, 20, 28)])
def test_baffles_are_one_cell_thin_with_one_gap(shape):
    flags = make_flags("thin", shape, seed=SEED)
    planes = np.flatnonzero((flags == SOLID).any(tuple(range(1, len(shape)))))
    assert len(planes) == 5
    assert (np.diff(planes) > 1).all()
    widths = [round(0.12 * size) for size in shape[1:]]
    for plane in planes:
        gap = np.argwhere(flags[plane] == FLUID)
        np.testing.assert_array_equal(np.ptp(gap, axis=0) + 1, widths)
        assert len(gap) == np.prod(widths)
    assert ndimage.label(flags == FLUID)[1] == 1


def test_checkerboards():
    aligned = smooth_coefficients("cb_a", (32, 24), contrast=1e3, seed=SEED)
    assert set(np.unique(aligned)) == {1.0, 1e3}
    assert len(np.unique(aligned[:8, :8])) == 1
    assert aligned[0, 0] != aligned[8, 0] == aligned[0, 8] != aligned[8, 8]
    shifted = smooth_coefficients("cb_s", (32, 24), contrast=1e3, seed=SEED)
    np.testing.assert_array_equal(shifted[:29, :21], aligned[3:, 3:])
    eight = smooth_coefficients("cb_8", (48, 64), contrast=10, seed=SEED)
    assert (np.diff(eight[:, 0]) != 0).nonzero()[0].tolist() == [5, 11, 17, 23, 29, 35, 41]
    assert (np.diff(eight[0]) != 0).sum() == 7


def test_log_normal_coefficients_have_the_contrast_and_are_smooth():
    values = smooth_coefficients("logn", (40, 36, 20), contrast=1e4, seed=SEED)
    assert values.min() == pytest.approx(1)
    assert values.max() == pytest.approx(1e4)
    steps = np.abs(np.diff(np.log(values), axis=0))
    assert steps.max() < 0.15 * np.log(1e4)
    other = smooth_coefficients("logn", (40, 36, 20), contrast=1e4, seed=SEED + 2)
    assert np.abs(np.log(other / values)).max() > 1
    np.testing.assert_array_equal(smooth_coefficients("logn", (1, 1), seed=SEED), [[1.0]])


def test_right_hand_side_has_all_scales_and_is_zero_off_the_fluid():
    flags = make_flags("freesurf", (64, 64), seed=SEED)
    b = right_hand_side(flags, seed=SEED)
    assert (b[flags != FLUID] == 0).all()
    assert (b[flags == FLUID] != 0).all()
    box = make_flags("box", (96, 96), seed=SEED)
    smooth = ndimage.gaussian_filter(right_hand_side(box, seed=SEED), 3)
    assert smooth.max() > 0.6
    assert smooth.min() < -0.6
    noise = right_hand_side(box, seed=SEED) - smooth
    assert noise.std() == pytest.approx(0.3, rel=0.1)


def test_reference_box_counts():
    flags, fractions = reference_box((5, 6))
    assert (flags == SOLID).sum() == 4
    assert [a.shape for a in fractions] == [(6, 6), (5, 7)]
    assert fractions[0][1:-1, 0].tolist() == [1, 0, 0, 1]
    assert fractions[0][:, 2].min() == 1
    assert fractions[1][0, 1:-1].tolist() == [1, 0, 0, 0, 1]


def test_bad_input_is_refused():
    with pytest.raises(
        ValueError, match=r"make_flags: expected one of box, sphere.*got 'cube'"
    ):
        make_flags("cube", (8, 8), seed=SEED)
    with pytest.raises(ValueError, match=r"make_flags: expected two or three.*got \(8,\)"):
        make_flags("box", (8,), seed=SEED)
    with pytest.raises(ValueError, match="smooth_coefficients: expected one of cb_a"):
        smooth_coefficients("checkers", (8, 8), seed=SEED)
    with pytest.raises(ValueError, match=r"expected a contrast of at least 1, got 0\.1"):
        smooth_coefficients("cb_a", (8, 8), contrast=0.1, seed=SEED)
    with pytest.raises(ValueError, match="reference_box: expected at least 3 cells per axis"):
        reference_box((2, 8))
    with pytest.raises(ValueError, match="right_hand_side: expected two or three"):
        right_hand_side(np.full(5, FLUID), seed=SEED)

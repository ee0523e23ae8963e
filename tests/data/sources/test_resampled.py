from dataclasses import replace

import numpy as np
import pytest

from sciml.data.dataset import open_dataset
from sciml.data.sources import open_source
from sciml.data.sources.resampled import ResampledSource
from sciml.data.sources.wrapped import WrappedSource
from sciml.domain import Box
from tests.data.pairs import Pairs
from tests.data.well_files import Field, write_well


class Analytic(WrappedSource):
    """Frames of a function of the coordinates, on any grid."""

    def __init__(self, function, resolution, grid, periodic, low=None, high=None):
        super().__init__(Pairs(2, resolution=resolution))
        ndim = len(resolution)
        low, high = low or (0.0,) * ndim, high or (1.0,) * ndim
        self.box = Box(("x", "y", "z")[:ndim], low, high, periodic)
        inner = self.source.spec
        self.own = replace(
            inner,
            domain=self.box,
            grid=grid,
            resolution=resolution,
            out_fields=inner.in_fields,
            dt=0.5,
        )
        self.function = function

    @property
    def spec(self):
        return self.own

    def values(self, spec):
        points = spec.domain.grid(spec.resolution, spec.grid).numpy()
        return self.function(*points)

    def read(self, trajectory, start, stop, stride, out):
        out[:] = self.values(self.own) * np.arange(start, stop, stride)[:, None, None, None]


def resampled(source, **options):
    """Frames 1 and 3 on the new grid, and the function itself on that grid."""
    changed = ResampledSource(source, **options)
    out = np.empty((2, 1, *changed.spec.resolution), np.float32)
    changed.read(0, 1, 4, 2, out)
    exact = source.values(changed.spec)
    np.testing.assert_allclose(out[1], 3 * out[0], rtol=2e-6, atol=1e-6)
    return changed, out[0, 0], exact


def wave(x, y):
    return np.sin(2 * np.pi * (x + 2 * y)) + 0.25 * np.cos(4 * np.pi * x)


@pytest.mark.parametrize(
    ("resolution", "grid", "periodic", "stride", "expected"),
    [
        ((12, 9), ("vertex", "vertex"), (True, True), 3, (4, 3)),
        ((13, 9), ("vertex", "vertex"), (False, False), (4, 2), (4, 5)),
        ((421, 16), ("vertex", "vertex"), (False, True), (5, 4), (85, 4)),
        ((12, 8), ("cell", "cell"), (True, False), (3, 4), (4, 2)),
        ((15, 6), ("cell", "vertex"), (False, True), (5, 1), (3, 6)),
    ],
)
def test_picked_points_have_their_coordinates(resolution, grid, periodic, stride, expected):
    """The described grid is where the values were taken, also where the box moves."""
    source = Analytic(wave, resolution, grid, periodic, low=(-1.0, 0.0), high=(2.0, 0.5))
    changed, found, exact = resampled(source, stride=stride, method="pick")
    assert changed.spec.resolution == expected
    np.testing.assert_allclose(found, exact, atol=2e-6)
    whole = source.values(source.spec).astype(np.float32)
    steps = (stride, stride) if isinstance(stride, int) else stride
    np.testing.assert_array_equal(found, whole[:: steps[0], :: steps[1]])
    by_size = ResampledSource(source, size=expected, method="pick")
    assert by_size.spec == changed.spec


def test_center_of_odd_blocks_is_the_cell_grid():
    source = Analytic(wave, (15, 9), ("cell", "cell"), (True, False))
    changed, found, exact = resampled(source, stride=3, method="center")
    assert changed.spec.domain == source.spec.domain
    np.testing.assert_allclose(found, exact, atol=2e-6)


def test_mean_of_cells_is_exact_for_averages():
    """Cell averages of a polynomial, averaged again, are those of the coarse cells."""
    generator = np.random.default_rng(880_301)
    fine = generator.standard_normal((12, 10))
    source = Analytic(lambda x, y: fine, (12, 10), ("cell", "cell"), (False, False))
    changed = ResampledSource(source, stride=(4, 5), method="mean")
    out = np.empty((1, 1, 3, 2), np.float32)
    changed.read(0, 1, 2, 1, out)
    expected = [
        [fine[4 * i : 4 * i + 4, 5 * j : 5 * j + 5].mean() for j in (0, 1)] for i in range(3)
    ]
    np.testing.assert_allclose(out[0, 0], expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("grid", ["vertex", "cell"])
@pytest.mark.parametrize("size", [(9, 11), (12, 12), (24, 31)])
def test_fourier_is_exact_for_resolved_waves(grid, size):
    source = Analytic(wave, (16, 13), (grid, grid), (True, True))
    changed, found, exact = resampled(source, size=size, method="fourier")
    assert (changed.spec.resolution, changed.spec.domain) == (size, source.spec.domain)
    np.testing.assert_allclose(found, exact, atol=3e-6)


def test_low_pass_before_decimation():
    """A wave that the coarse grid cannot hold vanishes instead of aliasing; picks alias."""
    source = Analytic(
        lambda x, y: np.cos(2 * np.pi * 6 * x), (16, 4), ("vertex", "vertex"), (True, True)
    )
    assert np.abs(resampled(source, stride=(2, 1), method="fourier")[1]).max() < 1e-6
    assert np.abs(resampled(source, stride=(2, 1), method="pick")[1]).max() > 0.9


@pytest.mark.parametrize(
    ("method", "function"),
    [
        ("cosine", lambda x, y: np.cos(np.pi * 3 * x) * np.sin(2 * np.pi * y)),
        ("sine", lambda x, y: np.sin(np.pi * 3 * x) * np.sin(2 * np.pi * y)),
    ],
)
@pytest.mark.parametrize("grid", ["vertex", "cell"])
def test_bounded_axes_beside_a_periodic_one(method, function, grid):
    source = Analytic(function, (17, 12), (grid, "vertex"), (False, True))
    _, found, exact = resampled(source, size=(9, 8), method=method)
    np.testing.assert_allclose(found, exact, atol=3e-6)


def test_pairs_static_fields_and_loading(tmp_path):
    pairs = Pairs(2, resolution=(7, 5))
    changed = ResampledSource(pairs, stride=2)
    out = np.empty((2, 4, 3), np.float32)
    changed.read_targets(1, out)
    np.testing.assert_array_equal(out, pairs.outputs[1][:, ::2, ::2])
    fields = [Field("a"), Field("mask", time_varying=False)]
    frames, static = write_well(tmp_path / "a.h5", fields=fields)
    dataset = open_dataset(tmp_path, resample={"stride": 2, "method": "pick"})
    assert dataset.spec.resolution == (3, 2)
    batch = dataset.batch([0, 7])
    np.testing.assert_array_equal(batch.inputs[0, 0], frames[0, 0, 0, ::2, ::2].astype("f4"))
    np.testing.assert_array_equal(batch.static[1, 0], static[1, 0, ::2, ::2].astype("f4"))
    # what takes time to make is kept
    assert dataset.source.describe().endswith(
        "from 6x4 to 3x2 by pick\nkept in memory after the first read"
    )


def test_fingerprint_depends_on_the_grid(tmp_path):
    write_well(tmp_path / "a.h5")
    source = open_source(tmp_path)
    options = (
        {"stride": 2},
        {"size": 3, "method": "fourier"},
        {"stride": 2, "method": "fourier"},
    )
    prints = {ResampledSource(source, **each).fingerprint for each in options}
    assert len(prints | {source.fingerprint}) == 4


@pytest.mark.parametrize(
    ("grid", "periodic", "options", "message"),
    [
        (
            "vertex",
            False,
            {"stride": 5},
            "divides 11 on the bounded vertex axis 'x' of 12 points",
        ),
        ("cell", True, {"stride": 5}, "divides 12 on the periodic cell axis 'x' of 12 points"),
        (
            "vertex",
            True,
            {"stride": 2, "method": "mean"},
            "a cell grid to resample by mean, got the vertex",
        ),
        (
            "cell",
            True,
            {"stride": 2, "method": "center"},
            "odd ratio to resample by center, got 2",
        ),
        (
            "vertex",
            True,
            {"size": 5},
            "12 points on axis 'x' are a multiple to resample by pick, got 5",
        ),
        ("vertex", False, {"size": 1}, "12 points on axis 'x' are a multiple"),
        (
            "cell",
            False,
            {"size": 6, "method": "fourier"},
            "got the bounded axis 'x' of darcy; use cosine",
        ),
        (
            "cell",
            True,
            {"size": 6, "method": "sine"},
            "a bounded axis to resample by sine, got periodic",
        ),
        (
            "cell",
            True,
            {"size": 6, "stride": 2},
            "either stride or size, got stride=2 and size=6",
        ),
        ("cell", True, {"method": "pick"}, "either stride or size"),
        (
            "cell",
            True,
            {"size": (6, 6, 6)},
            r"or each of the axes \('x', 'y'\), got \(6, 6, 6\)",
        ),
        ("cell", True, {"stride": 0}, "a positive stride"),
        ("cell", True, {"size": 6, "method": "spline"}, "got 'spline'; use one of these"),
    ],
)
def test_impossible_resampling(grid, periodic, options, message):
    source = Analytic(wave, (12, 12), (grid, grid), (periodic, periodic))
    with pytest.raises(ValueError, match=message):
        ResampledSource(source, **options)


def test_clouds_are_refused():
    with pytest.raises(ValueError, match="fields on a grid to resample, got the point clouds"):
        ResampledSource(Pairs(1, points=(5,)), stride=2)

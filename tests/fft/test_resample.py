import math

import pytest
import torch

from sciml.fft.resample import fourier_resample, resample


def naive_matrix(n, m):
    """Dense trigonometric interpolation from n to m points, modes above min(n, m)/2 dropped."""
    kept = min(n, m)
    j, i = torch.arange(n, dtype=torch.float64), torch.arange(m, dtype=torch.float64)
    matrix = torch.zeros(m, n, dtype=torch.float64)
    for k in range(-(n // 2), n // 2 + 1):
        weight = 1.0
        if n % 2 == 0 and abs(k) == n // 2:
            weight = 0.5  # the Nyquist mode of the old grid stands for both signs
        if 2 * abs(k) > kept:
            continue
        phase = 2 * math.pi * k * (i[:, None] / m - j[None, :] / n)
        matrix += weight * torch.cos(phase) / n
    return matrix


def random_field(shape, dtype=torch.float64):
    generator = torch.Generator().manual_seed(2718281829)
    return torch.randn(shape, dtype=torch.float64, generator=generator).to(dtype)


SIZES = [(4, 6), (6, 4), (5, 8), (8, 5), (6, 9), (9, 6), (5, 7), (7, 5), (8, 8), (2, 3), (1, 4)]


@pytest.mark.parametrize(("n", "m"), SIZES)
def test_one_axis_equals_the_dense_interpolant(n, m):
    u = random_field((3, n))
    torch.testing.assert_close(
        fourier_resample(u, (m,)), u @ naive_matrix(n, m).T, rtol=0, atol=1e-14
    )


def test_several_axes_are_a_tensor_product():
    u = random_field((1, 2, 4, 7, 6))
    expected = torch.einsum(
        "bcxyz,ix,jy,kz->bcijk", u, naive_matrix(4, 9), naive_matrix(7, 4), naive_matrix(6, 8)
    )
    torch.testing.assert_close(fourier_resample(u, (9, 4, 8)), expected)


def band_limited(shape):
    """Highest mode 2 on each axis."""
    grids = torch.meshgrid(
        *(torch.arange(n, dtype=torch.float64) / n for n in shape), indexing="ij"
    )
    u = torch.ones(shape, dtype=torch.float64)
    for axis, x in enumerate(grids):
        u = u * (0.3 + torch.sin(2 * math.pi * 2 * x + axis) + torch.cos(2 * math.pi * x))
    return u


@pytest.mark.parametrize(
    ("old", "new"),
    [((6,), (11,)), ((11,), (6,)), ((5, 8), (12, 7)), ((8, 9), (5, 6)), ((5, 6, 7), (8, 5, 6))],
)
def test_band_limited_fields_are_exact(old, new):
    torch.testing.assert_close(
        fourier_resample(band_limited(old), new), band_limited(new), rtol=0, atol=1e-13
    )


def test_refinement_keeps_shared_points_and_round_trips():
    u = random_field((2, 6, 5))
    fine = fourier_resample(u, (12, 15))
    torch.testing.assert_close(fine[:, ::2, ::3], u)
    torch.testing.assert_close(fourier_resample(fine, (6, 5)), u)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_dtype_is_kept(dtype):
    u = random_field((2, 6), dtype)
    out = fourier_resample(u, (9,))
    assert out.dtype == dtype
    torch.testing.assert_close(out, fourier_resample(u.double(), (9,)).to(dtype))


def test_gradient():
    u = random_field((2, 4, 5)).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda v: fourier_resample(v, (6, 4)), u, check_forward_ad=True
    )


def test_bad_shapes_are_named():
    with pytest.raises(ValueError, match=r"fourier_resample: expected 1 to 2 .*\(4, 4, 4\)"):
        fourier_resample(random_field((4, 4)), (4, 4, 4))
    with pytest.raises(ValueError, match=r"expected 1 to 2 positive sizes .*\(0,\)"):
        fourier_resample(random_field((4, 4)), (0,))


def test_integers_are_refused():
    with pytest.raises(
        TypeError, match=r"expected a real floating-point field, got torch.int64"
    ):
        fourier_resample(torch.arange(4), (8,))


def modes(boundary, grid, n, num_modes):
    """Basis functions of the box [0, 1] at n grid points, lowest first, written out plainly."""
    j = torch.arange(n, dtype=torch.float64)[:, None]
    k = torch.arange(num_modes, dtype=torch.float64)
    if boundary == "periodic":
        x = (j + (0.5 if grid == "cell" else 0.0)) / n
        frequency = (k + 1) // 2
        # On cell centres the cosine of the Nyquist mode vanishes, so the sine comes first.
        return torch.where(
            k % 2 == (0 if grid == "cell" else 1),
            torch.cos(2 * math.pi * frequency * x),
            torch.sin(2 * math.pi * frequency * x),
        ) + (k == 0) * float(grid == "vertex")
    x = {
        "vertex": j / (n - 1) if n > 1 else j,
        "cell": (j + 0.5) / n,
        "interior": (j + 1) / (n + 1),
    }
    if boundary == "neumann":
        return torch.cos(math.pi * k * x[grid])
    return torch.sin(math.pi * (k + 1) * x[grid])


ALL_GRIDS = [
    ("periodic", "vertex"),
    ("periodic", "cell"),
    ("neumann", "vertex"),
    ("neumann", "cell"),
    ("dirichlet", "interior"),
    ("dirichlet", "cell"),
]


def dense_matrix(boundary, grid, n, m):
    """Interpolate, drop what the new grid cannot hold, evaluate."""
    kept = min(n, m)
    if boundary == "periodic" and m < n and m % 2 == 0:
        kept = m + 1  # cosine and sine of the new Nyquist mode add up on the new grid
    interpolate = torch.linalg.inv(modes(boundary, grid, n, n))
    return modes(boundary, grid, m, kept) @ interpolate[:kept]


@pytest.mark.parametrize(("boundary", "grid"), ALL_GRIDS)
@pytest.mark.parametrize(
    ("n", "m"), [(4, 6), (6, 4), (5, 8), (8, 5), (9, 6), (5, 7), (7, 5), (2, 3), (70, 90)]
)
def test_every_grid_equals_the_dense_interpolant(boundary, grid, n, m):
    u = random_field((3, n))
    expected = u @ dense_matrix(boundary, grid, n, m).T
    result = resample(u, (m,), boundary=boundary, grid=grid)
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("n", "m"), [(4, 7), (9, 5), (3, 4), (6, 6)])
def test_dirichlet_ends_are_kept_on_top_of_a_line(n, m):
    def field(size):
        x = torch.linspace(0, 1, size, dtype=torch.float64)
        return 2 - 5 * x + 3 * torch.sin(math.pi * x)

    result = resample(field(n), (m,), boundary="dirichlet", grid="vertex")
    torch.testing.assert_close(result, field(m))
    u = random_field((2, n))
    result = resample(u, (m,), boundary="dirichlet", grid="vertex")
    torch.testing.assert_close(result[:, [0, -1]], u[:, [0, -1]])


def test_mixed_axes_are_a_tensor_product():
    u = random_field((1, 2, 4, 7, 6))
    boundaries, grids = ("neumann", "dirichlet", "periodic"), ("vertex", "interior", "cell")
    expected = torch.einsum(
        "bcxyz,ix,jy,kz->bcijk",
        u,
        *(
            dense_matrix(*pair)
            for pair in zip(boundaries, grids, (4, 7, 6), (9, 4, 8), strict=True)
        ),
    )
    result = resample(u, (9, 4, 8), boundary=boundaries, grid=grids)
    torch.testing.assert_close(result, expected)


@pytest.mark.parametrize(("boundary", "grid"), [*ALL_GRIDS, ("dirichlet", "vertex")])
def test_every_grid_round_trips_keeps_dtypes_and_has_gradients(boundary, grid):
    u = random_field((2, 6, 5))
    fine = resample(u, (9, 8), boundary=boundary, grid=grid)
    torch.testing.assert_close(resample(fine, (6, 5), boundary=boundary, grid=grid), u)
    half = resample(u.half(), (9, 4), boundary=boundary, grid=grid)
    assert half.dtype == torch.float16
    expected = resample(u.half().double(), (9, 4), boundary=boundary, grid=grid)
    torch.testing.assert_close(half, expected.half(), rtol=2e-3, atol=1e-3)
    assert torch.autograd.gradcheck(
        lambda v: resample(v, (4, 6), boundary=boundary, grid=grid),
        u[:1].requires_grad_(),
        check_forward_ad=True,
    )


@pytest.mark.parametrize(("boundary", "grid"), [*ALL_GRIDS, ("dirichlet", "vertex")])
def test_empty_batch_and_vmap(boundary, grid):
    empty = resample(random_field((0, 5)), (8,), boundary=boundary, grid=grid)
    assert empty.shape == (0, 8)
    u = random_field((3, 6, 5))
    batched = torch.func.vmap(lambda v: resample(v, (4, 8), boundary=boundary, grid=grid))(u)
    torch.testing.assert_close(batched, resample(u, (4, 8), boundary=boundary, grid=grid))


@pytest.mark.unhooked
@pytest.mark.parametrize(("boundary", "grid"), [*ALL_GRIDS, ("dirichlet", "vertex")])
def test_compiles_without_graph_breaks(boundary, grid):
    def apply(v):
        return resample(v, (4, 8), boundary=boundary, grid=grid)

    u = random_field((2, 6, 5))
    compiled = torch.compile(apply, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(u), apply(u))


def test_grids_that_do_not_fit_are_named():
    u = random_field((4, 2))
    with pytest.raises(ValueError, match=r"resample: expected interior points on a dirichlet"):
        resample(u, (3, 3), boundary="neumann", grid=["vertex", "interior"])
    with pytest.raises(ValueError, match=r"at least 3 points on axis -1 .*got 2 and 5"):
        resample(u, (5,), boundary="dirichlet", grid="vertex")
    with pytest.raises(ValueError, match=r"resample: expected boundary .* for 1 axes"):
        resample(u, (5,), boundary=["neumann", "neumann"], grid="cell")
    with pytest.raises(ValueError, match=r"resample: expected 1 to 2 positive sizes"):
        resample(u, (3, 0), boundary="periodic", grid="cell")
    with pytest.raises(TypeError, match=r"resample: expected a real .*torch.int64"):
        resample(torch.arange(4), (3,), boundary="periodic", grid="cell")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize(("boundary", "grid"), [*ALL_GRIDS, ("dirichlet", "vertex")])
def test_cpu_equals_cuda_without_synchronisation(boundary, grid):
    u = random_field((2, 8, 9))
    on_gpu = u.cuda()
    # The first call builds tables.
    resample(on_gpu, (12, 6), boundary=boundary, grid=grid)
    torch.cuda.set_sync_debug_mode("error")
    try:
        result = resample(on_gpu, (12, 6), boundary=boundary, grid=grid)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    expected = resample(u, (12, 6), boundary=boundary, grid=grid)
    torch.testing.assert_close(result.cpu(), expected)

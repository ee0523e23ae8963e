import concurrent.futures

import numpy as np
import pytest
import scipy.fft
import torch

from sciml.fft import trigonometric
from sciml.fft.trigonometric import dct, dst, idct, idst
from sciml.fft.trigonometric_tables import Transform, line_tables, matrix

KINDS = [1, 2, 3]
NORMS = ["backward", "ortho", "forward"]
PAIRS = [
    (dct, scipy.fft.dctn),
    (idct, scipy.fft.idctn),
    (dst, scipy.fft.dstn),
    (idst, scipy.fft.idstn),
]
# Both back ends, both parities, primes.
SIZES = [2, 3, 4, 5, 8, 31, 48, 65, 66, 97, 128, 251]


def random_field(shape, dtype=torch.float64):
    generator = torch.Generator().manual_seed(1414213563)
    return torch.randn(shape, dtype=torch.float64, generator=generator).to(dtype)


def assert_equal_relative_to_maximum(actual, expected, tolerance):
    expected = torch.as_tensor(expected)
    assert actual.shape == expected.shape
    assert (
        actual.to(expected.dtype) - expected
    ).abs().max() <= tolerance * expected.abs().max()


@pytest.fixture(params=["as chosen", "no matrix of short axes"])
def back_end(request, monkeypatch):
    if request.param == "no matrix of short axes":
        monkeypatch.setattr(trigonometric, "_LONGEST_MATRIX", 0)


@pytest.mark.usefixtures("back_end")
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_equals_scipy_at_any_length(ours, theirs, kind, norm):
    for size in SIZES:
        u = random_field((3, size))
        expected = theirs(u.numpy(), kind, axes=(1,), norm=norm)
        assert_equal_relative_to_maximum(ours(u, kind, (1,), norm=norm), expected, 1e-13)
        single = ours(u.float(), kind, (1,), norm=norm)
        assert single.dtype == torch.float32
        assert_equal_relative_to_maximum(single, expected, 2e-6)


@pytest.mark.usefixtures("back_end")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_equals_scipy_on_any_axes(ours, theirs, kind):
    u = random_field((5, 2, 70, 6))
    for axes in [(0,), (2,), (-1,), (0, 3), (3, 1), (1, 2, -1), (0, 1, 2, 3)]:
        expected = theirs(u.numpy(), kind, axes=axes)
        assert_equal_relative_to_maximum(ours(u, kind, axes), expected, 1e-13)
    strided = u.transpose(0, 2)[:, :, ::2]
    expected = theirs(strided.numpy(), kind, axes=(0, 3))
    assert_equal_relative_to_maximum(ours(strided, kind, (0, 3)), expected, 1e-13)


@pytest.mark.parametrize("shape", [(65, 66), (66, 65), (128, 70), (200, 200), (66, 67, 65)])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ours", [dct, dst])
def test_long_axes_together_equal_scipy(ours, kind, shape):
    theirs = scipy.fft.dctn if ours is dct else scipy.fft.dstn
    u = random_field((2, *shape))
    every = tuple(range(1, u.ndim))
    for norm in NORMS:
        expected = theirs(u.numpy(), kind, axes=every, norm=norm)
        assert_equal_relative_to_maximum(ours(u, kind, every, norm=norm), expected, 1e-13)
        single = ours(u.float(), kind, every, norm=norm)
        assert_equal_relative_to_maximum(single, expected, 2e-6)
    # Another order of the axes, in memory and by name; channels behind.
    turned = u.movedim(0, -1).transpose(0, 1)
    axes = every[::-1]
    expected = theirs(turned.numpy(), kind, axes=[axis - 1 for axis in axes])
    result = ours(turned, kind, [axis - 1 for axis in axes])
    assert_equal_relative_to_maximum(result, expected, 1e-13)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [64, 256, 511, 512, 513])
@pytest.mark.parametrize("ours", [dct, dst])
def test_sizes_of_the_benchmark_equal_scipy(ours, size, kind):
    theirs = scipy.fft.dctn if ours is dct else scipy.fft.dstn
    u = random_field((size, size))
    expected = theirs(u.numpy(), kind)
    assert_equal_relative_to_maximum(ours(u, kind, (0, 1)), expected, 1e-13)


@pytest.mark.usefixtures("back_end")
@pytest.mark.parametrize("kind", KINDS)
def test_equals_the_sum_in_extended_precision(kind):
    n = 75
    x = random_field((n,))
    j, k = np.arange(n, dtype=np.longdouble), np.arange(n, dtype=np.longdouble)[:, None]
    pi = 4 * np.arctan(np.longdouble(1))
    weights = np.full(n, 2, dtype=np.longdouble)
    if kind == 1:
        weights[[0, -1]] = 1
        cosines, sines = np.cos(pi * j * k / (n - 1)), np.sin(pi * (j + 1) * (k + 1) / (n + 1))
    elif kind == 2:
        angle = pi * (2 * j + 1) / (2 * n)
        cosines, sines = np.cos(k * angle), np.sin((k + 1) * angle)
    else:
        weights[0] = 1
        angle = pi * (2 * k + 1) / (2 * n)
        cosines, sines = np.cos(j * angle), np.sin((j + 1) * angle)
    sine_weights = weights[::-1] if kind == 3 else np.full(n, 2)
    expected = (cosines * weights) @ x.numpy().astype(np.longdouble)
    assert_equal_relative_to_maximum(dct(x, kind, (0,)), expected.astype(float), 3e-15)
    expected = (sines * sine_weights) @ x.numpy().astype(np.longdouble)
    assert_equal_relative_to_maximum(dst(x, kind, (0,)), expected.astype(float), 3e-15)


@pytest.mark.usefixtures("back_end")
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("forward", "inverse"), [(dct, idct), (dst, idst)])
def test_inverse_undoes_it(forward, inverse, kind, norm):
    u = random_field((1, 9, 66, 5))
    back = inverse(forward(u, kind, (1, 2, 3), norm=norm), kind, (1, 2, 3), norm=norm)
    assert_equal_relative_to_maximum(back, u, 1e-14)


@pytest.mark.usefixtures("back_end")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("transform", [dct, dst])
def test_orthonormal_form_is_an_orthogonal_matrix(transform, kind):
    for size in (2, 7, 50):
        identity = torch.eye(size, dtype=torch.float64)
        product = transform(identity, kind, (0,), norm="ortho")
        torch.testing.assert_close(product.T @ product, identity, rtol=0, atol=1e-14)


@pytest.mark.parametrize(("ours", "theirs"), [PAIRS[0], PAIRS[2]])
def test_one_point(ours, theirs):
    u = random_field((4, 1))
    for kind in KINDS if ours is dst else (2, 3):
        expected = theirs(u.numpy(), kind, axes=(1,))
        torch.testing.assert_close(ours(u, kind, (1,)), torch.from_numpy(expected))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    u = random_field((2, 70, 12), dtype)
    for transform in (dct, idct, dst, idst):
        out = transform(u, 2, (1, 2))
        assert out.dtype == dtype
        torch.testing.assert_close(out, transform(u.float(), 2, (1, 2)).to(dtype))


def test_autocast_does_not_lower_the_precision():
    u = random_field((2, 16), torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = dct(u, 2, (1,))
    assert torch.equal(out, dct(u, 2, (1,)))


@pytest.mark.usefixtures("back_end")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("transform", [dct, idct, dst, idst])
def test_derivatives(transform, kind):
    u = random_field((2, 3, 6)).requires_grad_()

    def apply(v):
        return transform(v, kind, (1, 2), norm="ortho")

    assert torch.autograd.gradcheck(apply, u, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(apply, u)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("transform", [dct, dst])
def test_derivatives_of_three_axes_by_fft(transform, kind, monkeypatch):
    monkeypatch.setattr(trigonometric, "_LONGEST_MATRIX", 0)
    u = random_field((3, 2, 4)).requires_grad_()

    def apply(v):
        return transform(v, kind, (0, 1, 2))

    assert torch.autograd.gradcheck(apply, u, check_forward_ad=True)


@pytest.mark.parametrize(("transform", "size"), [(dct, 68), (dst, 66), (dct, 75), (dst, 73)])
def test_derivatives_where_the_extension_has_a_large_prime(transform, size):
    def apply(v):
        return transform(v, 1, (0,), norm="ortho")

    u = random_field((size, 1)).requires_grad_()
    assert torch.autograd.gradcheck(apply, u, check_forward_ad=True)
    # Orthogonal and symmetric, hence its own inverse.
    torch.testing.assert_close(apply(apply(u)), u)


@pytest.mark.usefixtures("back_end")
def test_batching_by_vmap_and_tables_built_in_a_transform():
    u = random_field((3, 53, 4))
    gradient = torch.func.grad(lambda v: (dct(v, 2, (0,)) ** 2).sum())(u[0])
    torch.testing.assert_close(torch.func.vmap(lambda v: dct(v, 2, (0,)))(u), dct(u, 2, (1,)))
    expected = torch.func.grad(lambda v: (dct(v, 2, (0,)) ** 2).sum())(u[0])
    torch.testing.assert_close(gradient, expected)


@pytest.mark.usefixtures("back_end")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("transform", [dct, dst])
def test_batching_of_planes_by_vmap(transform, kind):
    u = random_field((6, 3, 7))
    batched = torch.func.vmap(lambda v: transform(v, kind, (0, 1)), in_dims=1)(u)
    torch.testing.assert_close(batched, transform(u, kind, (0, 2)).transpose(0, 1))


@pytest.mark.usefixtures("back_end")
@pytest.mark.parametrize("size", [37, 83])
def test_tables_built_in_inference_mode_serve_training(size):
    u = random_field((2, size))
    with torch.inference_mode():
        for kind in KINDS:
            dct(u, kind, (1,), norm="ortho")
    u.requires_grad_()
    for kind in KINDS:
        dct(u, kind, (1,), norm="ortho").square().sum().backward()
    # The sum of squares is the same before and after, three times over.
    torch.testing.assert_close(u.grad, 6 * u.detach())


def test_threads_agree():
    u = random_field((2, 59, 107))
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: dst(u, 3, (1, 2)), range(32)))
    assert all(torch.equal(result, results[0]) for result in results)


def test_tables_are_kept_up_to_a_bound():
    key = Transform("cosine", 2, "backward"), 40, torch.float64, torch.device("cpu")
    first = matrix(*key)
    assert matrix(*key) is first
    for size in range(1, 200):
        matrix(Transform("sine", 1, "forward"), size, torch.float64, torch.device("cpu"))
    assert matrix(*key) is not first


def test_fewer_long_tables_are_kept():
    rest = torch.float32, torch.device("cpu")
    transform = Transform("cosine", 2, "backward")
    first = line_tables(transform, 2**15 + 1, *rest)
    assert line_tables(transform, 2**15 + 1, *rest) is first
    for size in range(2**15 + 2, 2**15 + 6):
        line_tables(transform, size, *rest)
    assert line_tables(transform, 2**15 + 1, *rest) is not first


def test_tables_are_right_for_every_caller_at_once():
    # More keys than are kept, asked for by all threads in different orders.
    sizes = [70 + 3 * i for i in range(24)]
    fields = {size: random_field((size,)) for size in sizes}
    alone = {size: dct(fields[size], 2, (0,), norm="ortho") for size in sizes}

    def work(start):
        return [
            torch.equal(dct(fields[size], 2, (0,), norm="ortho"), alone[size])
            for size in sizes[start:] + sizes[:start]
        ]

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert all(all(results) for results in pool.map(work, range(24)))


@pytest.mark.unhooked
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("transform", [dct, dst])
def test_compiles_without_graph_breaks(transform, kind):
    u = random_field((2, 70, 90))

    def apply(v):
        return transform(v, kind, (1, 2), norm="ortho")

    compiled = torch.compile(apply, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(u), apply(u), rtol=0, atol=0)


@pytest.mark.parametrize("size", [6, 100])
def test_empty_batch(size):
    u = random_field((0, size, 70)).requires_grad_()
    out = dct(u, 2, (1, 2))
    assert out.shape == u.shape
    out.sum().backward()
    assert u.grad.shape == u.shape


def test_bad_input_is_named():
    u = random_field((1, 6))
    with pytest.raises(TypeError, match=r"dct: expected a real floating-point .*torch.int64"):
        dct(torch.arange(4), 2, (0,))
    with pytest.raises(TypeError, match=r"idst: expected a real .*got torch.complex128"):
        idst(u.to(torch.complex128), 2, (1,))
    with pytest.raises(ValueError, match=r"dst: expected distinct axes .*\(0, 0\)"):
        dst(u, 2, (0, 0))
    with pytest.raises(ValueError, match=r"dct: expected at least 2 points .*shape \(1, 6\)"):
        dct(u, 1, (0,))
    with pytest.raises(ValueError, match=r"idct: expected at least 2 points .*type 1"):
        idct(u, 1, (0, 1))
    with pytest.raises(ValueError, match=r"dst: expected at least 1 points .*\(0, 3\)"):
        dst(random_field((0, 3)), 2, (0,))


@pytest.mark.parametrize(("kind", "norm"), [(4, "ortho"), (0, "ortho"), (2, "orthogonal")])
def test_unknown_types_and_norms_are_named(kind, norm):
    # Below the annotations, which the test run checks first.
    transform = Transform._make(("cosine", kind, norm))
    with pytest.raises(
        ValueError, match=rf"dct: expected kind 1, 2 or 3 .*kind={kind}, norm='{norm}'"
    ):
        trigonometric._transform("dct", random_field((4,)), (0,), transform)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("transform", [dct, idct, dst, idst])
def test_cpu_equals_cuda_without_synchronisation(transform):
    for shape in [(2, 33, 130), (2, 70, 97)]:
        u = random_field(shape)
        for kind in KINDS:
            on_gpu = u.cuda()
            transform(on_gpu, kind, (1, 2))
            torch.cuda.set_sync_debug_mode("error")
            try:
                result = transform(on_gpu, kind, (1, 2))
            finally:
                torch.cuda.set_sync_debug_mode("default")
            assert_equal_relative_to_maximum(result.cpu(), transform(u, kind, (1, 2)), 1e-13)

import itertools
import math
import threading

import pytest
import torch

from sciml.fft import truncated
from sciml.fft.truncated import analyse, kept_modes, synthesise
from sciml.fft.truncated_basis import half_axis_weights

GRIDS = [
    ((16,), (6,)),
    ((15,), (5,)),
    ((64,), (64,)),
    ((1,), (3,)),
    ((12, 9), (6, 5)),
    ((9, 12), (5, 13)),
    ((8, 8), (8, 8)),  # Nyquist on both axes
    ((8, 6), (11, 40)),  # more modes than the grid has
    ((10, 1), (1, 1)),
    ((8, 6, 7), (4, 3, 5)),
    ((6, 4, 8), (6, 4, 8)),
]
FORMS = ["plain", "fold_last", "fold_first"]


@pytest.fixture(params=FORMS)
def form(request, monkeypatch):
    """Every form of the matrix back end, whatever the cost model says."""
    monkeypatch.setattr(truncated, "cheapest_form", lambda *_: request.param)
    return request.param


def fits(form, space):
    """Whether a form can fold its axis."""
    if form == "fold_first":
        return len(space) > 1 and space[0] % 2 == 0
    return form == "plain" or space[-1] % 2 == 0


def amplitudes(u, modes):
    """The definition, one frequency at a time, in complex arithmetic."""
    space = tuple(u.shape[u.ndim - len(modes) :])
    kept = kept_modes(modes, space)
    frequencies = [range(-(k // 2), k - k // 2) for k in kept[:-1]] + [range(kept[-1])]
    axes = tuple(range(u.ndim - len(space), u.ndim))
    result = torch.empty(*kept, 2, *u.shape[: -len(space)], dtype=u.dtype)
    for place, f in zip(
        itertools.product(*map(range, kept)), itertools.product(*frequencies), strict=True
    ):
        phase = sum(
            (f_a * torch.arange(n, dtype=torch.float64) / n).view(
                [n if i == a else 1 for i in range(len(space))]
            )
            for a, (f_a, n) in enumerate(zip(f, space, strict=True))
        )
        wave = torch.exp(-2j * math.pi * phase)
        result[place] = torch.view_as_real((u * wave).mean(axes)).movedim(-1, 0)
    return result


@pytest.mark.parametrize(("space", "modes"), GRIDS)
@pytest.mark.parametrize("batch", [(), (1,), (2, 3)])
def test_matrix_form_equals_the_definition(form, space, modes, batch):
    if not fits(form, space):
        return
    torch.manual_seed(98120447)
    u = torch.randn(*batch, *space, dtype=torch.float64)
    expected = amplitudes(u, modes)
    torch.testing.assert_close(
        analyse(u, modes, backend="matrix"), expected, rtol=0, atol=1e-14
    )


@pytest.mark.parametrize(("space", "modes"), GRIDS)
def test_fft_form_equals_the_definition(space, modes):
    torch.manual_seed(98120449)
    u = torch.randn(2, 3, *space, dtype=torch.float64)
    torch.testing.assert_close(
        analyse(u, modes, backend="fft"), amplitudes(u, modes), rtol=0, atol=1e-14
    )


@pytest.mark.parametrize(("space", "modes"), GRIDS)
def test_back_ends_synthesise_the_same_on_grids_unlike_the_input(form, space, modes):
    torch.manual_seed(55511131)
    spectrum = torch.randn(*kept_modes(modes, space), 2, 3, dtype=torch.float64)
    for target in (space, tuple(2 * n for n in space), tuple(n + 3 for n in space)):
        if fits(form, target):
            ours = synthesise(spectrum, target, backend="matrix")
            expected = synthesise(spectrum, target, backend="fft")
            assert ours.shape == (3, *target)
            torch.testing.assert_close(ours, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("space", "modes"), GRIDS)
@pytest.mark.parametrize("backend", ["matrix", "fft"])
def test_synthesis_is_the_weighted_adjoint_of_analysis(space, modes, backend):
    torch.manual_seed(31337001)
    u = torch.randn(2, *space, dtype=torch.float64)
    kept = kept_modes(modes, space)
    c = torch.randn(*kept, 2, 2, dtype=torch.float64)
    weights = half_axis_weights(kept[-1], space[-1]).view(-1, 1, 1)
    left = (synthesise(c, space, backend=backend) * u).sum()
    right = (c * weights * analyse(u, modes, backend=backend)).sum() * math.prod(space)
    torch.testing.assert_close(left, right, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("n", "target"), [((15,), (40,)), ((9, 14), (12, 9)), ((7, 8, 9), (9, 7, 8))]
)
@pytest.mark.parametrize("backend", ["matrix", "fft"])
def test_band_limited_fields_move_between_grids_exactly(n, target, backend):
    torch.manual_seed(77003101)
    modes = tuple(2 * ((min(a, b) - 1) // 2) + 1 for a, b in zip(n, target, strict=True))
    c = torch.randn(*kept_modes(modes, n), 2, 1, dtype=torch.float64)
    u, v = synthesise(c, n, backend=backend), synthesise(c, target, backend=backend)
    moved = synthesise(analyse(u, modes, backend=backend), target, backend=backend)
    torch.testing.assert_close(moved, v, rtol=0, atol=1e-12)


def test_sines_that_vanish_are_exactly_zero():
    u = torch.randn(4, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(101))
    spectrum = analyse(u, (64,), backend="matrix")
    assert torch.equal(spectrum[0, 1], torch.zeros(4, dtype=torch.float64))
    assert torch.equal(spectrum[-1, 1], torch.zeros(4, dtype=torch.float64))


@pytest.mark.parametrize("backend", ["matrix", "fft"])
@pytest.mark.parametrize(
    ("space", "modes"), [((7,), (4,)), ((4, 6), (4, 3)), ((4, 3, 4), (2, 3, 4))]
)
def test_derivatives_of_first_and_second_order(backend, space, modes):
    torch.manual_seed(27182817)
    u = torch.randn(1, 2, *space, dtype=torch.float64, requires_grad=True)
    c = torch.randn(*kept_modes(modes, space), 2, 2, dtype=torch.float64, requires_grad=True)

    def forth(u):
        return analyse(u, modes, backend=backend).sin()

    def back(c):
        return synthesise(c, space, backend=backend).sin()

    for function, value in ((forth, u), (back, c)):
        assert torch.autograd.gradcheck(function, value, check_forward_ad=True)
        assert torch.autograd.gradgradcheck(function, value)


def test_nothing_is_kept_for_the_gradient():
    kept = []
    u = torch.randn(2, 32, 32, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        synthesise(analyse(u, (8, 8)), (32, 32))
    assert kept == []


@pytest.mark.parametrize("transform", [torch.func.jacrev, torch.func.jacfwd])
def test_functional_transformations_give_the_matrix(transform):
    torch.manual_seed(90001)
    u = torch.randn(6, 4, dtype=torch.float64)
    jacobian = transform(lambda v: analyse(v, (3, 3), backend="matrix"))(u)
    torch.testing.assert_close(
        torch.tensordot(jacobian, u, 2), analyse(u, (3, 3)), rtol=0, atol=1e-14
    )


@pytest.mark.parametrize("backend", ["matrix", "fft"])
@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float32, 1e-6), (torch.bfloat16, 3e-2), (torch.float16, 4e-3)],
)
def test_dtype_is_kept(backend, dtype, tolerance):
    torch.manual_seed(650021)
    u = torch.randn(3, 24, 20, dtype=torch.float64)
    expected = analyse(u, (9, 8))
    spectrum = analyse(u.to(dtype), (9, 8), backend=backend)
    assert spectrum.dtype == dtype
    assert (spectrum.double() - expected).norm() < tolerance * expected.norm()
    field = synthesise(expected.to(dtype), (24, 20), backend=backend)
    assert field.dtype == dtype
    exact = synthesise(expected, (24, 20))
    assert (field.double() - exact).norm() < tolerance * exact.norm()


def test_autocast_leaves_the_dtype_alone():
    u = torch.randn(1, 32, generator=torch.Generator().manual_seed(40087))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = analyse(u, (8,), backend="matrix")
    assert torch.equal(inside, analyse(u, (8,), backend="matrix"))


def test_chunks_of_large_fields_join(monkeypatch):
    torch.manual_seed(1000003)
    u = torch.randn(5, 64, 64, dtype=torch.float64)
    for form in ("fold_last", "fold_first"):
        monkeypatch.setattr(truncated, "cheapest_form", lambda *_, form=form: form)
        whole = analyse(u, (12, 12), backend="matrix")
        field = synthesise(whole, (64, 64), backend="matrix")
        monkeypatch.setattr("sciml.fft.truncated_matrix.CHUNK_BYTES", 2 * 64 * 64 * 8)
        pieces = analyse(u, (12, 12), backend="matrix")
        torch.testing.assert_close(pieces, whole, rtol=0, atol=1e-15)
        again = synthesise(whole, (64, 64), backend="matrix")
        torch.testing.assert_close(again, field, rtol=0, atol=1e-14)


def test_threads_share_the_cached_matrices():
    torch.manual_seed(7919)
    u = torch.randn(2, 44, 46, dtype=torch.float64)
    expected = amplitudes(u, (5, 5))
    results = [None] * 8

    def work(i):
        results[i] = analyse(u, (5, 5), backend="matrix")

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(results))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results:
        torch.testing.assert_close(result, expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("backend", ["matrix", "fft"])
def test_any_number_of_threads_gives_the_same(form, backend):
    torch.manual_seed(5915587277)
    before = torch.get_num_threads()
    u = torch.randn(40, 64, 64, dtype=torch.float64)
    results = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            spectrum = analyse(u, (24, 13), backend=backend)
            results.append((spectrum, synthesise(spectrum, (64, 64), backend=backend)))
    finally:
        torch.set_num_threads(before)
    for one, two in zip(*results, strict=True):
        torch.testing.assert_close(two, one, rtol=0, atol=1e-13)


def test_errors_say_what_to_do():
    u = torch.randn(2, 8, 8)
    with pytest.raises(TypeError, match="analyse: expected a real floating-point tensor"):
        truncated._check_field("analyse", u.long())
    with pytest.raises(ValueError, match="give one number per trailing axis"):
        analyse(u, (4, 0))
    with pytest.raises(ValueError, match="positive modes for 1 to 3 axes"):
        analyse(u, (4, 4, 4, 4))
    with pytest.raises(ValueError, match="leave out empty batches"):
        analyse(u[:0], (4, 4))
    with pytest.raises(ValueError, match=r"expected a spectrum \(\*modes, 2, \*batch\)"):
        synthesise(u, (8, 8))
    with pytest.raises(ValueError, match=r"at most \(8, 5\) modes for a grid of \(8, 8\)"):
        synthesise(torch.randn(4, 6, 2, 1), (8, 8))


@pytest.mark.unhooked
def test_unknown_back_end_is_refused():
    with pytest.raises(
        ValueError, match="expected backend 'matrix', 'fft' or None, got 'gemm'"
    ):
        analyse(torch.randn(8), (3,), backend="gemm")


@pytest.mark.unhooked
@pytest.mark.parametrize(
    ("space", "modes"), [((64,), (20,)), ((15, 12), (5, 6)), ((8, 6, 7), (4, 3, 5))]
)
def test_compiles_and_exports_as_one_graph(space, modes):
    torch.manual_seed(15485863)
    u = torch.randn(2, *space)

    class Filter(torch.nn.Module):
        def forward(self, u):
            return synthesise(analyse(u, modes), space)

    expected = Filter()(u)
    compiled = torch.compile(Filter(), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(u), expected, rtol=0, atol=1e-5)
    exported = torch.export.export(Filter(), (u,)).module()
    torch.testing.assert_close(exported(u), expected, rtol=0, atol=1e-5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize(("space", "modes"), GRIDS)
@pytest.mark.parametrize("backend", ["matrix", "fft"])
def test_cuda_equals_cpu(space, modes, backend):
    torch.manual_seed(32452843)
    u = torch.randn(2, *space, dtype=torch.float64)
    expected = analyse(u, modes, backend=backend)
    on_device = analyse(u.cuda(), modes, backend=backend)
    torch.testing.assert_close(on_device.cpu(), expected, rtol=0, atol=1e-13)
    field = synthesise(on_device, space, backend=backend)
    torch.testing.assert_close(
        field.cpu(), synthesise(expected, space, backend=backend), rtol=0, atol=1e-12
    )

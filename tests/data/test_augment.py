from dataclasses import replace

import numpy as np
import pytest
import torch

from sciml.data.augment import Augmentation
from sciml.data.dataset import open_dataset
from sciml.data.draws import Draw
from sciml.domain import Box
from sciml.simulate.navier_stokes import NavierStokes2D
from sciml.simulate.vorticity import VorticityEquation
from sciml.spec import Batch, DatasetSpec, FieldSpec
from tests.data.well_files import Field, write_well

DRAW = Draw(70_111, 3)
EVERYTHING = ("roll", "flip", "rot90")


def spec_of(resolution, fields, outputs=None, periodic=True, grid="vertex", extents=None):
    ndim = len(resolution)
    extents = extents or (1.0,) * ndim
    periodic = (periodic,) * ndim if isinstance(periodic, bool) else periodic
    box = Box(("x", "y", "z")[:ndim], (0.0,) * ndim, extents, periodic)
    return DatasetSpec(
        "toy", box, resolution, fields, outputs or fields, grid=(grid,) * ndim, dt=0.1
    )


def random(shape, seed=515_003):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=torch.float64, generator=generator)


def smooth(shape, ndim, seed=515_003):
    """Random fields of a few waves."""
    spectrum = torch.fft.fftn(random(shape, seed), dim=tuple(range(-ndim, 0)))
    for axis in range(-ndim, 0):
        waves = torch.fft.fftfreq(shape[axis], 1 / shape[axis], dtype=torch.float64)
        spectrum = spectrum * torch.exp(-((waves / 2) ** 2)).view(-1, *[1] * (-axis - 1))
    return torch.fft.ifftn(spectrum, dim=tuple(range(-ndim, 0))).real


@pytest.mark.parametrize("n", [24, 27])
def test_navier_stokes_commutes_with_every_symmetry(n):
    """Vorticity is a pseudoscalar: solving the turned data gives the turned solution."""
    solver = NavierStokes2D(
        VorticityEquation((n, n), viscosity=1e-3, lengths=(1.0, 1.0), dtype=torch.float64)
    )
    start = 20 * smooth((10, n, n), 2)
    frames = solver.solve(start, interval=0.05, num_intervals=3).frames
    samples = range(100, 110)
    augment = Augmentation(
        EVERYTHING, spec_of((n, n), (FieldSpec("vorticity"),)), (), ["vorticity"]
    )
    batch = augment(Batch(start[:, None].clone(), frames[:, :, None].clone()), DRAW, samples)
    again = solver.solve(batch.inputs[:, 0], interval=0.05, num_intervals=3).frames
    torch.testing.assert_close(again, batch.targets[:, :, 0], rtol=1e-9, atol=1e-9)
    # the flow changed by much more than that, and nearly all samples were turned
    assert (frames[:, -1] - start).abs().amax((1, 2)).min() > 0.1
    changed = (batch.inputs[:, 0] - start).abs().amax((1, 2)) > 0.1
    assert changed.sum() >= 9
    # as a true scalar it would be wrong wherever handedness changes
    scalar = replace(augment.spec, name="scalar")
    wrong = Augmentation(EVERYTHING, scalar, (), [])
    batch = wrong(Batch(start[:, None].clone(), frames[:, :, None].clone()), DRAW, samples)
    again = solver.solve(batch.inputs[:, 0], interval=0.05, num_intervals=3).frames
    off = (again - batch.targets[:, :, 0]).abs().amax((1, 2, 3)) > 1e-3
    rows = DRAW.uniform(samples, 5, "augment").tolist()
    assert off.tolist() == [augment.symmetry(row).determinant < 0 for row in rows]
    assert 0 < off.sum() < 10


def derivative(u, axis, ndim):
    """Central difference on a periodic grid of spacing one."""
    axis -= ndim
    return 0.5 * (torch.roll(u, -1, axis) - torch.roll(u, 1, axis))


def march(velocity, flow, diffusivity, steps=4):
    """Vector u carried by a given flow w, diffusing at κ(x): u_t = -(u + w)·∇u + κ ∇²u."""
    frames, ndim = [], velocity.shape[1]
    for _ in range(steps):
        carried = velocity + flow
        advected = sum(
            carried[:, i : i + 1] * derivative(velocity, i, ndim) for i in range(ndim)
        )
        laplacian = sum(
            torch.roll(velocity, 1, i - ndim)
            + torch.roll(velocity, -1, i - ndim)
            - 2 * velocity
            for i in range(ndim)
        )
        velocity = velocity + 0.1 * (diffusivity * laplacian - advected)
        frames.append(velocity)
    return torch.stack(frames, 1)


@pytest.mark.parametrize("grid", ["vertex", "cell"])
@pytest.mark.parametrize("resolution", [(9, 9), (8, 8), (10, 7), (6, 6, 6), (5, 4, 5)])
def test_vector_equation_with_static_fields_commutes(resolution, grid):
    ndim = len(resolution)
    fields = (FieldSpec("velocity", 1, ndim),)
    static_fields = (FieldSpec("diffusivity"), FieldSpec("flow", 1, ndim))
    square = len(set(resolution)) < ndim
    operations = EVERYTHING if square else ("roll", "flip")
    spec = spec_of(resolution, fields, grid=grid)
    augment = Augmentation(operations, spec, static_fields, [])
    start, flow = random((8, ndim, *resolution)), random((8, ndim, *resolution), 515_005)
    diffusivity = random((8, 1, *resolution), 515_007).abs()
    before = Batch(
        start.clone(),
        march(start, flow, diffusivity),
        static=torch.cat((diffusivity, flow), 1),
    )
    batch = augment(before, DRAW, range(8))
    again = march(batch.inputs, batch.static[:, 1:], batch.static[:, :1])
    torch.testing.assert_close(again, batch.targets, rtol=1e-12, atol=1e-12)
    assert ((batch.inputs - start).abs().flatten(1).amax(1) > 0.1).sum() >= 6


@pytest.mark.parametrize("resolution", [(7, 7), (4, 4, 4)])
def test_gradient_tensor_and_curl_of_a_history(resolution):
    """Pairs: two frames of a vector in, its gradient (rank 2) and curl (pseudo) out."""
    ndim = len(resolution)
    outputs = (FieldSpec("gradient", 2, ndim**2), FieldSpec("curl", *(ndim - 2, 2 * ndim - 3)))
    spec = spec_of(resolution, (FieldSpec("velocity", 1, ndim),), outputs)
    augment = Augmentation(EVERYTHING, spec, (), ["curl"])

    def operate(u):
        gradient = torch.cat(
            [derivative(u[:, i : i + 1], j, ndim) for i in range(ndim) for j in range(ndim)], 1
        )
        pairs = ((0, 1),) if ndim == 2 else ((1, 2), (2, 0), (0, 1))
        curl = [gradient[:, [ndim * b + a]] - gradient[:, [ndim * a + b]] for a, b in pairs]
        return torch.cat((gradient, *curl), 1)

    history = random((12, 2 * ndim, *resolution))
    batch = Batch(history.clone(), operate(history[:, ndim:])[:, None])
    batch = augment(batch, DRAW, range(12))
    for frame in (0, 1):  # the older frame is turned in the same way
        own = augment(
            Batch(history[:, frame * ndim : (frame + 1) * ndim].clone()), DRAW, range(12)
        )
        assert torch.equal(own.inputs, batch.inputs[:, frame * ndim : (frame + 1) * ndim])
    torch.testing.assert_close(operate(batch.inputs[:, ndim:]), batch.targets[:, 0])


def test_one_dimensional_velocity_is_pseudo():
    """Burgers, u_t = -u u_x + ν u_xx: u stored as a scalar is the component of a vector."""
    spec = spec_of((16,), (FieldSpec("velocity"),))
    augment = Augmentation(("roll", "flip"), spec, (), ["velocity"])
    start = random((6, 1, 16))
    zero = torch.zeros_like(start)
    batch = Batch(start.clone(), march(start, zero, zero + 0.5))
    batch = augment(batch, DRAW, range(6))
    again = march(batch.inputs, zero, zero + 0.5)
    torch.testing.assert_close(again, batch.targets, rtol=1e-12, atol=1e-12)
    assert any(s.determinant < 0 for s in symmetries(augment, range(6)))


def symmetries(augment, samples):
    count = 2 * augment.spec.ndim + len(augment._planes)
    return [augment.symmetry(row) for row in DRAW.uniform(samples, count, "augment").tolist()]


def test_boundary_codes_follow_their_faces():
    spec = spec_of((5, 5), (FieldSpec("a"),), periodic=False)
    augment = Augmentation(("flip", "rot90"), spec, (), [])
    samples = range(40)
    # a field that is 10 on a wall's face and 1 on an open one, to see where faces went
    values = torch.zeros(40, 1, 5, 5, dtype=torch.float64)
    values[:, 0, 0, 1:4], values[:, 0, -1, 1:4] = 10, 20
    values[:, 0, 1:4, 0], values[:, 0, 1:4, -1] = 30, 40
    codes = torch.tensor([[10, 20], [30, 40]]).repeat(40, 1, 1)
    batch = augment(Batch(values, boundary=codes), DRAW, samples)
    faces = batch.inputs[:, 0]
    expected = torch.stack(
        (
            torch.stack((faces[:, 0, 2], faces[:, -1, 2]), 1),
            torch.stack((faces[:, 2, 0], faces[:, 2, -1]), 1),
        ),
        1,
    )
    assert torch.equal(batch.boundary, expected.long())
    # the eight symmetries of a square all occur
    assert len({(s.axes, s.signs) for s in symmetries(augment, samples)}) == 8


def test_clouds_turn_about_the_center_of_their_box():
    box = Box(("x", "y"), (-1.0, 2.0), (1.0, 4.0))
    fields = (FieldSpec("radius"), FieldSpec("arrow", 1, 2))
    spec = DatasetSpec("cloud", box, (9,), fields, fields, unstructured=True)
    coords = 2 * random((16, 9, 2)).sigmoid() + torch.tensor([-1.0, 2.0], dtype=torch.float64)
    mask = torch.ones(16, 9, dtype=torch.bool)
    mask[:, 7:] = False
    coords[:, 7:] = 0

    def values(at):
        offset = (at - torch.tensor([0.0, 3.0], dtype=torch.float64)).transpose(1, 2)
        radius = offset.norm(dim=1, keepdim=True)
        return torch.cat((radius, offset * radius), 1) * mask[:, None]

    batch = Batch(values(coords), coords=coords.clone(), mask=mask)
    batch = Augmentation(("flip", "rot90"), spec, (), [])(batch, DRAW, range(16))
    torch.testing.assert_close(values(batch.coords), batch.inputs)
    assert not batch.coords[:, 7:].any()
    assert (batch.coords - coords).abs().amax((1, 2)).gt(0.01).sum() >= 10
    with pytest.raises(ValueError, match="a periodic axis to roll, got point clouds in cloud"):
        Augmentation(("roll",), spec)


def test_only_periodic_axes_roll():
    spec = spec_of((6, 8), (FieldSpec("a"),), periodic=(False, True))
    for symmetry in symmetries(Augmentation(("roll",), spec), range(30)):
        assert symmetry.shifts[0] == 0
        assert (symmetry.axes, symmetry.signs) == ((0, 1), (1, 1))
    shifts = {s.shifts[1] for s in symmetries(Augmentation(("roll",), spec), range(60))}
    assert shifts == set(range(8))


def test_samples_do_not_depend_on_their_batch(tmp_path):
    fields = [Field("vorticity"), Field("v", 1)]
    write_well(tmp_path / "a.h5", fields=fields, resolution=(5, 5), num_steps=9)
    options = {"augment": EVERYTHING, "pseudo_fields": ["vorticity"], "max_stride": 3}
    dataset = open_dataset(tmp_path, history=2, **options)
    batch = dataset.batch([4, 11, 2], draw=DRAW)
    for row, number in enumerate((4, 11, 2)):
        alone = dataset.batch([number], draw=DRAW)
        for name in ("inputs", "targets", "times", "boundary"):
            assert torch.equal(getattr(batch, name)[row], getattr(alone, name)[0])
    plain = open_dataset(tmp_path, history=2)
    for name in ("inputs", "targets", "times"):  # evaluation sees the data as they are
        assert torch.equal(
            getattr(dataset.batch([4, 11]), name), getattr(plain.batch([4, 11]), name)
        )
    assert not torch.equal(batch.inputs, plain.batch([4, 11, 2]).inputs)
    other = dataset.batch([4, 11, 2], draw=Draw(70_111, 4))
    assert not torch.equal(batch.inputs, other.inputs)
    assert np.array_equal(batch.index, other.index)
    trained = dataset.windowed(horizon=2)
    assert trained.augmentation is dataset.augmentation


VECTOR = (FieldSpec("v", 1, 3),)


@pytest.mark.parametrize(
    ("spec", "operations", "pseudo", "message"),
    [
        (spec_of((4, 4), VECTOR), ["spin"], None, r"each once, got \['spin'\]"),
        (spec_of((4, 4), VECTOR), ["roll", "roll"], None, "each once"),
        (
            spec_of((4, 4), (FieldSpec("w"),)),
            ["flip"],
            None,
            r"name those of \['w'\] that change sign .* pass pseudo_fields=\[\] if there is",
        ),
        (spec_of((4, 4), (FieldSpec("w"),)), ["flip"], ["v"], r"of \['w'\], got \['v'\]"),
        (spec_of((4, 4), VECTOR), ["rot90"], None, "2 components of 'v', a tensor of rank 1"),
        (spec_of((4, 5), (FieldSpec("w"),)), ["rot90"], None, "to turn by 90 degrees"),
        (
            spec_of((4, 4), (FieldSpec("w"),), extents=(1.0, 2.0)),
            ["rot90"],
            None,
            "two axes of equal length",
        ),
        (
            spec_of((4, 4), (FieldSpec("w"),), periodic=(True, False)),
            ["rot90"],
            None,
            "leave rot90 out",
        ),
        (
            spec_of((4, 4), (FieldSpec("w"),), periodic=False),
            ["roll"],
            None,
            "a periodic axis to roll, got no periodic axis in toy; leave roll out",
        ),
    ],
)
def test_impossible_augmentations(spec, operations, pseudo, message):
    with pytest.raises(ValueError, match=message):
        Augmentation(operations, spec, (), pseudo)

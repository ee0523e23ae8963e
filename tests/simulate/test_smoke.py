import dataclasses

import numpy as np
import pytest
import torch

from sciml.linalg.preconditioners.jacobi import Jacobi
from sciml.linalg.solve import linear_solve
from sciml.linalg.solvers.cg import CG
from sciml.simulate.geometry import AIR, SOLID
from sciml.simulate.smoke import SmokeSimulation
from sciml.simulate.smoke_pressure import PressureSolver
from sciml.simulate.smoke_scenes import make_scene


def chosen(rtol):
    """What `linear_solve` takes by itself."""
    return lambda operator, b, start: linear_solve(operator, b, rtol=rtol, x0=start)


def gradients(rtol):
    """Conjugate gradients, which stop right at the tolerance."""
    return lambda operator, b, start: linear_solve(
        operator, b, CG(rtol=rtol), x0=start, preconditioner=Jacobi(operator)
    )


def simulate(scene, num_steps, rtol=1e-8, method=gradients):
    simulation = SmokeSimulation(scene, PressureSolver(method(rtol)))
    return simulation, [simulation.step() for _ in range(num_steps)]


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("plume", chosen),
        ("sphere", chosen),
        ("spinning_box", chosen),
        ("bunny", gradients),
        ("sphere", gradients),
        ("moving_sphere", gradients),
    ],
)
@pytest.mark.parametrize("open_top", [True, False])
def test_plane_scenes_keep_volume_and_mass(name, open_top, method):
    scene = make_scene(name, 32, open_top=open_top)
    simulation, steps = simulate(scene, 10, method=method)
    assert max(step.divergence_before for step in steps) > 1
    assert max(step.divergence for step in steps) <= 1e-6
    assert max(abs(step.volume_flux) for step in steps) <= 1e-6
    assert max(step.mass_error for step in steps) <= 1e-14
    assert float(simulation.density.min()) >= 0
    assert float(simulation.density.max()) <= 1 + 1e-6
    assert max(float(u.abs().max()) for u in simulation.velocity) > 0.1


@pytest.mark.parametrize("name", ["sphere", "spinning_box"])
@pytest.mark.parametrize("open_top", [True, False])
def test_spatial_scenes_keep_volume_and_mass(name, open_top):
    simulation, steps = simulate(make_scene(name, 15, ndim=3, open_top=open_top), 4)
    assert max(step.divergence for step in steps) <= 1e-6
    assert max(step.mass_error for step in steps) <= 1e-14
    assert float(simulation.density.min()) >= 0


@pytest.mark.parametrize("name", ["sphere", "moving_sphere"])
def test_closed_box_keeps_its_mass_for_good_whatever_the_tolerance(name):
    scene = make_scene(name, 24, open_top=False)
    scene = dataclasses.replace(scene, source_time=4.5 * scene.dt)
    _, steps = simulate(scene, 25, rtol=1e-2)
    assert steps[3].added > 0
    final = [step.mass for step in steps[5:]]
    np.testing.assert_allclose(final, final[0], rtol=1e-12)
    assert max(step.divergence for step in steps) > 1e-4


def test_smoke_leaves_through_the_open_top_and_is_counted():
    scene = make_scene("plume", 16)
    _, steps = simulate(scene, 50, rtol=1e-4, method=chosen)
    left, added = sum(s.left for s in steps), sum(s.added for s in steps)
    assert left > 0.01 * added
    assert steps[-1].mass == pytest.approx(added - left, rel=1e-12)


def test_smoke_rises_past_the_body():
    simulation, _ = simulate(make_scene("sphere", 24), 30, rtol=1e-4, method=chosen)
    up = simulation.scene.cells()[1]
    reached = (simulation.density > 0.2) & (up > 0.6)
    assert bool(reached.any())
    assert float(simulation.density[simulation.operator.flags == SOLID].abs().max()) == 0


def test_still_flow_of_a_rigid_body_at_rest_stays():
    """Without smoke nothing moves."""
    scene = make_scene("sphere", 16)
    scene = dataclasses.replace(scene, source_time=1e-9)
    simulation = SmokeSimulation(scene, PressureSolver(gradients(1e-8)))
    simulation.time = 1.0
    step = simulation.step()
    assert step.divergence == 0
    assert step.mass == step.mass_error == 0


@pytest.mark.parametrize("ndim", [2, 3])
def test_faces_of_a_body_have_its_velocity(ndim):
    simulation, _ = simulate(make_scene("spinning_box", 16, ndim=ndim), 3)
    scene = simulation.scene
    solid = simulation.operator.flags == SOLID
    for axis, u in enumerate(simulation.velocity):
        n = scene.resolution[axis]
        own = scene.body.velocity(scene.faces(axis), axis, simulation.time).expand(u.shape)
        torch.testing.assert_close(u.narrow(axis, 0, n)[solid], own.narrow(axis, 0, n)[solid])
        torch.testing.assert_close(u.narrow(axis, 1, n)[solid], own.narrow(axis, 1, n)[solid])


def test_covered_smoke_goes_to_the_nearest_fluid():
    scene = make_scene("moving_sphere", 32, open_top=False)
    simulation = SmokeSimulation(scene, PressureSolver(gradients(1e-6)))
    simulation.density = torch.where(simulation.operator.fluid, 0.5, simulation.density)
    mass = float(simulation.density.sum())
    simulation._move_body(scene.flags(0.5))
    assert not torch.equal(scene.flags(0.5), scene.flags(0.0))
    assert torch.equal(simulation.operator.flags, scene.flags(0.5))
    assert float(simulation.density.sum()) == pytest.approx(mass, rel=1e-14)
    assert float(simulation.density[~simulation.operator.fluid].abs().max()) == 0


def test_warm_start_saves_steps():
    scene = make_scene("sphere", 48)
    warm = PressureSolver(chosen(1e-4))
    cold = PressureSolver(lambda operator, b, start: linear_solve(operator, b, rtol=1e-4))
    simulation = SmokeSimulation(
        scene, lambda operator, b: (cold(operator, b), warm(operator, b))[1]
    )
    for _ in range(20):
        simulation.step()
    assert sum(warm.num_steps[5:]) <= 0.75 * sum(cold.num_steps[5:])


def test_frame_holds_the_system_that_was_solved():
    simulation, _ = simulate(make_scene("sphere", 24, ndim=2), 6)
    frame = simulation.frame()
    spec = simulation.spec("smoke_sphere", every=3)
    assert frame.shape == (6, 24, 24)
    assert frame.dtype == torch.float32
    assert spec.out_channels == 6
    assert [f.name for f in spec.out_fields] == [
        "density", "velocity", "pressure", "right_hand_side", "flags",
    ]  # fmt: skip
    assert spec.dt == pytest.approx(3 * simulation.scene.dt)
    assert spec.grid == ("cell", "cell")
    pressure, b, flags = frame[3].double(), frame[4].double(), frame[5]
    assert torch.equal(flags.to(torch.uint8), simulation.operator.flags)
    residual = b - simulation.operator.mv(pressure)
    assert float(residual.norm() / b.norm()) < 1e-4  # rounded to float32 for the file
    top = flags == AIR
    assert float(frame[0][top].abs().max()) == 0


@pytest.mark.gpu
def test_on_cuda():
    if not torch.cuda.is_available():
        pytest.skip("needs CUDA")
    scene = make_scene("spinning_box", 24)
    host, _ = simulate(scene, 4, rtol=1e-10)
    device = torch.device("cuda")
    simulation = SmokeSimulation(scene, PressureSolver(gradients(1e-10)), device=device)
    for _ in range(4):
        simulation.step()
    torch.testing.assert_close(simulation.density.cpu(), host.density, atol=1e-6, rtol=0)

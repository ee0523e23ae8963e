import math

import pytest
import torch

from sciml.fft.resample import fourier_resample
from sciml.simulate.navier_stokes import NavierStokes2D
from sciml.simulate.recipe import make_recipe
from sciml.simulate.vorticity import VorticityEquation

SEED = 2236067977


def recipe(**parameters):
    return make_recipe("fno_navier_stokes", **{"resolution": 16, "num_frames": 3} | parameters)


@pytest.mark.parametrize(
    ("variant", "rms"), [("legacy", 0.262), ("unit", 0.185), ("printed", 0.043)]
)
def test_initial_field_has_the_variant_s_root_mean_square(variant, rms):
    fields = recipe(variant=variant, resolution=64).initial(range(200), SEED)
    assert fields.square().mean().sqrt() == pytest.approx(rms, rel=0.05)


def test_simulation_is_the_solver_s():
    simulation = recipe().simulate([5, 2], SEED)
    assert simulation.fields.shape == (2, 3, 1, 16, 16)
    x = torch.arange(16, dtype=torch.float64) / 16
    phase = 2 * math.pi * (x[:, None] + x)
    forcing = 0.1 * (torch.sin(phase) + torch.cos(phase))
    equation = VorticityEquation((16, 16), viscosity=1e-3, forcing=forcing)
    start = recipe().initial([5, 2], SEED)
    history = NavierStokes2D(equation).solve(start, interval=1.0, num_intervals=2)
    torch.testing.assert_close(simulation.fields[:, 0, 0], start)
    torch.testing.assert_close(simulation.fields[:, 1:, 0], history.frames)
    assert simulation.smallest_step == 1 / history.num_steps.max()
    assert simulation.largest_step == 1 / history.num_steps.min()


def test_samples_do_not_depend_on_the_batch():
    together = recipe().simulate(range(6), SEED).fields
    alone = recipe().simulate([4], SEED).fields
    assert (together[4] - alone[0]).norm() < 1e-12 * alone.norm()


def test_solver_points_are_strided_to_the_stored_ones():
    fine = recipe(resolution=48, viscosity=1e-2).simulate([1], SEED).fields
    strided = recipe(solver_resolution=48, viscosity=1e-2).simulate([1], SEED).fields
    torch.testing.assert_close(strided, fine[..., ::3, ::3])


def test_a_sample_is_the_same_flow_at_every_resolution():
    coarse = recipe(resolution=32, viscosity=1e-2).simulate([1], SEED).fields[:, -1]
    fine = recipe(resolution=64, viscosity=1e-2).simulate([1], SEED).fields[:, -1]
    assert (fourier_resample(fine, (32, 32)) - coarse).norm() < 1e-4 * coarse.norm()


def test_spec_describes_the_data():
    spec = recipe(viscosity=1e-4).spec("flow")
    assert (spec.name, spec.resolution, spec.dt, spec.params) == ("flow", (16, 16), 1.0, ())
    assert spec.constants == {"viscosity": 1e-4}
    assert spec.domain.periodic == (True, True)
    assert spec.domain.extent == (1.0, 1.0)
    assert [field.name for field in spec.in_fields] == ["vorticity"]
    assert spec.autoregressive


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"viscosity": 0.0}, "expected viscosity > 0, got viscosity=0.0"),
        ({"num_frames": 1}, "expected num_frames >= 2"),
        ({"resolution": 2}, "expected resolution >= 4"),
        ({"forcing_amplitude": -1.0}, "expected forcing_amplitude >= 0"),
        ({"solver_resolution": 24}, "multiple of resolution 16, got 24"),
        ({"solver_resolution": 8}, "multiple of resolution 16, got 8"),
    ],
)
def test_values_out_of_range_are_named(parameters, message):
    with pytest.raises(ValueError, match=message):
        recipe(**parameters)


def test_an_integer_for_a_float_is_the_same_recipe():
    assert recipe(viscosity=1).parameters == recipe(viscosity=1.0).parameters
    assert str(recipe(viscosity=1).parameters["viscosity"]) == "1.0"


def test_forecaster_is_the_same_flow_on_a_coarser_grid():
    made = recipe(resolution=48, viscosity=1e-2, num_frames=4)
    frames = made.simulate([1], SEED).fields
    forecast = made.forecaster((32, 32)).rollout(frames[:, 1], 2)
    assert forecast.shape == frames[:, 2:].shape
    assert (forecast - frames[:, 2:]).norm() < 1e-4 * frames[:, 2:].norm()

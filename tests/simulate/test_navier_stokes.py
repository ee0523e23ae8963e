import math

import pytest
import torch

from sciml.fft.resample import fourier_resample
from sciml.simulate.etdrk import ETDRK4
from sciml.simulate.navier_stokes import BlowUpError, CoarseNavierStokes, NavierStokes2D
from sciml.simulate.random_fields import GaussianRandomField
from sciml.simulate.vorticity import VorticityEquation

SEED = 1732050807
FIELD = GaussianRandomField((1.0, 1.0), 2.5, 7.0, math.sqrt(2) * 7**1.5)


def forcing(n, amplitude=0.1):
    x = torch.arange(n, dtype=torch.float64) / n
    phase = 2 * math.pi * (x[:, None] + x)
    return amplitude * (torch.sin(phase) + torch.cos(phase))


def initial(n, indices, scale=1.0):
    return scale * FIELD.sample((n, n), seed=SEED, indices=indices)


def relative(a, b):
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize(
    ("resolution", "lengths", "dtype", "tolerance"),
    [
        ((16, 16), (1.0, 1.0), torch.float64, 1e-13),
        ((12, 21), (2.0, 0.5), torch.float64, 1e-13),
        ((15, 16), (1.0, 1.0), torch.float32, 1e-5),
    ],
)
def test_taylor_green_vortex_decays_exactly(resolution, lengths, dtype, tolerance):
    viscosity, interval = 0.01, 0.3
    x, y = (2 * math.pi * torch.arange(n, dtype=torch.float64) / n for n in resolution)
    vortex = 3.0 * torch.sin(x)[:, None] * torch.cos(y)
    equation = VorticityEquation(resolution, viscosity=viscosity, lengths=lengths, dtype=dtype)
    history = NavierStokes2D(equation).solve(
        vortex[None].to(dtype), interval=interval, num_intervals=3
    )
    rate = viscosity * sum((2 * math.pi / length) ** 2 for length in lengths)
    times = interval * torch.arange(1, 4, dtype=torch.float64)
    expected = torch.exp(-rate * times)[:, None, None] * vortex
    assert history.frames.dtype == dtype
    assert relative(history.frames[0].double(), expected) < tolerance


def test_order_four_in_time():
    equation = VorticityEquation((24, 24), viscosity=1e-3, forcing=forcing(24))
    block, _ = equation.split(initial(24, [3], scale=4.0))

    def march(num_steps):
        stepper = ETDRK4(equation.block_decay, 1.0 / num_steps, dtype=torch.complex128)
        v = block
        for _ in range(num_steps):
            v = stepper.step(v, equation.nonlinear)
        return v

    reference = march(1024)
    errors = torch.tensor(
        [float((march(n) - reference).abs().max()) for n in (32, 64, 128, 256)]
    )
    slopes = (errors[:-1] / errors[1:]).log2()
    assert errors[-1] < 1e-6 * reference.abs().max()
    assert abs(slopes.mean() - 4) < 0.15


def test_ladder_follows_the_flow_and_its_result_is_converged():
    equation = VorticityEquation((32, 32), viscosity=1e-3, forcing=forcing(32))
    start = torch.cat([initial(32, [0], scale=0.1), initial(32, [1], scale=6.0)])
    solver = NavierStokes2D(equation)
    history = solver.solve(start, interval=0.5, num_intervals=3)
    assert (history.num_steps[1] > history.num_steps[0]).all()
    assert (2 ** history.num_steps.double().log2().round() == history.num_steps).all()
    for t in range(3):
        block, _ = equation.split(history.frames[:, t])
        courant = equation.advection_rate(block) * 0.5 / history.num_steps[:, t]
        assert courant.max() <= solver.courant_limit
    fine = NavierStokes2D(equation, courant_limit=0.25).solve(
        start, interval=0.5, num_intervals=3
    )
    assert relative(history.frames, fine.frames) < 5e-4


def test_a_flow_that_accelerates_within_an_interval_is_repeated_with_smaller_steps():
    equation = VorticityEquation((16, 16), viscosity=1e-3, forcing=forcing(16, amplitude=20.0))
    rest = 1e-3 * initial(16, [2])
    solver = NavierStokes2D(equation)
    block, _ = equation.split(rest)
    assert equation.advection_rate(block) < solver.courant_limit  # at first one step would do
    history = solver.solve(rest, interval=1.0, num_intervals=1)
    assert history.num_steps.item() > 1
    fine = NavierStokes2D(equation, courant_limit=0.1).solve(
        rest, interval=1.0, num_intervals=1
    )
    assert relative(history.frames, fine.frames) < 1e-3


def test_mean_vorticity_is_conserved():
    equation = VorticityEquation((24, 20), viscosity=1e-3)
    start = fourier_resample(initial(24, [4, 5]), (24, 20)) + torch.tensor([[[0.7]], [[-0.2]]])
    history = NavierStokes2D(equation).solve(start, interval=1.0, num_intervals=4)
    means = history.frames.mean(dim=(-2, -1))
    torch.testing.assert_close(means, start.mean(dim=(-2, -1))[:, None].expand(2, 4))


def test_inviscid_flow_keeps_energy_and_enstrophy_to_the_order_of_the_step():
    equation = VorticityEquation((24, 24), viscosity=0.0)
    block, rest = equation.split(initial(24, [6], scale=3.0))
    start = equation.join(block, torch.zeros_like(rest))
    history = NavierStokes2D(equation, courant_limit=0.5).solve(
        start, interval=0.5, num_intervals=2
    )
    for frame in history.frames[0]:
        assert frame.square().sum() == pytest.approx(start.square().sum().item(), rel=1e-5)
        energy = equation.velocity(equation.split(frame[None])[0]).square().sum()
        assert energy == pytest.approx(equation.velocity(block).square().sum().item(), rel=1e-6)


def test_modes_that_do_not_interact_decay_by_viscosity():
    n, mode, viscosity = 16, 7, 1e-3
    x = torch.arange(n, dtype=torch.float64) / n
    start = torch.cos(2 * math.pi * mode * x)[:, None].expand(1, n, n).contiguous()
    equation = VorticityEquation((n, n), viscosity=viscosity)
    history = NavierStokes2D(equation).solve(start, interval=0.5, num_intervals=2)
    decay = math.exp(-viscosity * (2 * math.pi * mode) ** 2 * 0.5)
    torch.testing.assert_close(history.frames[:, 1], start * decay**2)


def test_a_sample_does_not_depend_on_its_batch():
    equation = VorticityEquation((32, 32), viscosity=1e-3, forcing=forcing(32))
    solver = NavierStokes2D(equation)
    together = solver.solve(initial(32, range(7)), interval=1.0, num_intervals=5)
    for index in (0, 4):
        alone = solver.solve(initial(32, [index]), interval=1.0, num_intervals=5)
        assert relative(together.frames[index], alone.frames[0]) < 1e-12
        assert (together.num_steps[index] == alone.num_steps[0]).all()


def test_blow_up_names_sample_time_and_remedy():
    equation = VorticityEquation((16, 16), viscosity=1e-6, forcing=forcing(16, amplitude=50.0))
    solver = NavierStokes2D(equation, max_halvings=5)
    start = torch.cat([torch.zeros(1, 16, 16, dtype=torch.float64), initial(16, [1])])
    with pytest.raises(
        BlowUpError, match=r"sample 41 blew up after time \d.*raise viscosity or"
    ):
        solver.solve(start, interval=1.0, num_intervals=50, sample_indices=[41, 42])
    start[1, 3, 3] = math.nan
    with pytest.raises(
        BlowUpError, match="sample 42 blew up after time 0: its flow is not finite"
    ):
        solver.solve(start, interval=1.0, num_intervals=1, sample_indices=[41, 42])


def test_bad_arguments_are_named():
    equation = VorticityEquation((16, 16), viscosity=1e-3)
    with pytest.raises(ValueError, match="NavierStokes2D: expected courant_limit > 0"):
        NavierStokes2D(equation, courant_limit=0.0)
    solver = NavierStokes2D(equation)
    with pytest.raises(
        ValueError, match=r"fields on the grid \(16, 16\), got shape \(1, 8, 8\)"
    ):
        solver.solve(torch.zeros(1, 8, 8, dtype=torch.float64), interval=1.0, num_intervals=1)
    with pytest.raises(TypeError, match=r"expected torch.float64 fields, got torch.float32"):
        solver.solve(torch.zeros(1, 16, 16), interval=1.0, num_intervals=1)
    with pytest.raises(ValueError, match="expected interval > 0 and num_intervals >= 1"):
        solver.solve(torch.zeros(1, 16, 16, dtype=torch.float64), interval=0.0, num_intervals=1)


class TestCoarseNavierStokes:
    def forecaster(self, **options):
        arguments = {"viscosity": 1e-2, "forcing": forcing(48), "interval": 0.5} | options
        return CoarseNavierStokes(**arguments)

    @pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
    def test_a_resolved_flow_is_forecast_like_the_fine_solver_does(self, dtype):
        equation = VorticityEquation((48, 48), viscosity=1e-2, forcing=forcing(48))
        truth = NavierStokes2D(equation, courant_limit=0.5).solve(
            initial(48, [7, 8]), interval=0.5, num_intervals=5
        )
        u = truth.frames[:, 1:2].to(dtype)
        frames = self.forecaster(dtype=dtype).rollout(u, 3)
        assert frames.shape == (2, 3, 1, 48, 48)
        assert frames.dtype == dtype
        assert relative(frames[:, :, 0].double(), truth.frames[:, 2:]) < 1e-5

    def test_it_starts_from_the_newest_frame_of_a_history(self):
        u = initial(48, [7]).float()[:, None]
        history = torch.cat([torch.full_like(u, 3.0), u], dim=1)
        forecaster = self.forecaster()
        torch.testing.assert_close(forecaster.rollout(history, 2), forecaster.rollout(u, 2))

    def test_any_grid_goes_in_and_comes_out(self):
        u = fourier_resample(initial(48, [7]), (40, 33))[:, None]
        frames = self.forecaster(dtype=torch.float64).rollout(u, 2)
        square = self.forecaster(dtype=torch.float64).rollout(initial(48, [7])[:, None], 2)
        assert frames.shape == (1, 2, 1, 40, 33)
        assert (
            relative(fourier_resample(frames, (32, 32)), fourier_resample(square, (32, 32)))
            < 1e-3
        )

    def test_without_forcing_a_decaying_flow_decays(self):
        u = initial(48, [7]).float()[:, None]
        frames = self.forecaster(forcing=None).rollout(u, 3)
        norms = frames.flatten(2).norm(dim=2)[0]
        assert (norms[1:] < norms[:-1]).all()

    def test_params_are_refused(self):
        with pytest.raises(ValueError, match="CoarseNavierStokes: expected params=None"):
            self.forecaster().rollout(torch.zeros(1, 1, 32, 32), 1, params=torch.zeros(1, 1))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cpu_equals_cuda():
    start = initial(32, [0, 1])
    frames = []
    for device in (torch.device("cpu"), torch.device("cuda")):
        equation = VorticityEquation(
            (32, 32), viscosity=1e-3, forcing=forcing(32), device=device
        )
        history = NavierStokes2D(equation).solve(
            start.to(device), interval=1.0, num_intervals=3
        )
        frames.append(history.frames.cpu())
    assert relative(frames[1], frames[0]) < 1e-10

"""The loss: known values, gradients, invariances; and how epochs are judged."""

import functools
import math
from dataclasses import replace

import pytest
import torch

from sciml.data.drawn import DrawnData
from sciml.linalg.poisson import PoissonOperator
from sciml.models.dcdm.model import DCDMNet
from sciml.models.dcdm.objective import LineSearchResidual, line_search_residual
from sciml.models.dcdm.validation import SolverSteps, fractional_steps
from sciml.nn.model import SurrogateModel
from sciml.simulate.poisson_samples import CosineSampler, PressureSampler
from sciml.solution import Solution, Status
from sciml.spec import Batch, FieldSpec
from sciml.training.normalized import NormalizedModel
from sciml.training.objective import OneStep, Progress
from sciml.training.resume import describe
from tests.models.dcdm.systems import pressure_system


def unit_batch(kinds=("random", "freesurf"), shape=(8, 10), masks=False):
    return PressureSampler(shape, kinds=kinds, masks=masks).draw(60013, range(len(kinds)))


class Fixed(SurrogateModel):
    """Says the same whatever it is asked."""

    def __init__(self, output) -> None:
        super().__init__(1, 1)
        self.output = output

    @classmethod
    def from_spec(cls, spec):
        raise NotImplementedError

    def forward(self, u, *, params=None, coords=None):
        return self.output


def model_of(net, masks=False, space=(8, 10)):
    data = DrawnData(PressureSampler(tuple(space), masks=masks), batch_size=1, epoch_size=1)
    return NormalizedModel.from_data(net, data, kind="none")


def loss_of(y, batch, penalty=0.0):
    """The loss with a given output of the net."""

    model = model_of(Fixed(y), space=batch.inputs.shape[2:])
    return LineSearchResidual(penalty)(model, batch, Progress.at(0))


@pytest.mark.parametrize("shape", [(8, 10), (4, 6, 2)])
def test_known_values(shape):
    """A⁺ r is perfect; y = r gives the residual of one step of steepest descent."""
    batch = unit_batch(shape=shape)
    expected = []
    solutions = []
    for flags, r in zip(batch.static[:, 0], batch.inputs[:, 0].double(), strict=True):
        A = PoissonOperator(flags.to(torch.uint8))
        dense = A.to_dense()
        solutions.append((torch.linalg.pinv(dense) @ r.reshape(-1)).reshape(shape))
        Ar = A.mv(r)
        expected.append((r - (r * r).sum() / (r * Ar).sum() * Ar).square().sum())
    perfect, _ = loss_of(torch.stack(solutions).float()[:, None], batch)
    assert float(perfect) < 1e-8
    descent, terms = loss_of(batch.inputs, batch)
    assert float(descent) == pytest.approx(float(torch.stack(expected).mean()), rel=1e-4)
    assert float(terms["squared_residual"]) == float(descent)


@pytest.mark.parametrize("factor", [-7.0, 1e-6, 5e8])
def test_scale_of_the_output_is_free_but_for_the_penalty(factor):
    batch = unit_batch()
    y = torch.randn(batch.inputs.shape, generator=torch.Generator().manual_seed(7919))
    plain, _ = loss_of(y, batch)
    scaled, terms = loss_of(factor * y, batch)
    assert float(scaled) == pytest.approx(float(plain), rel=1e-4)
    with_penalty, _ = loss_of(factor * y, batch, 1e-3)
    fluid = batch.static == 2
    logs = [(factor * v)[m].norm().log() ** 2 for v, m in zip(y, fluid, strict=True)]
    expected = float(scaled) + 1e-3 * float(sum(logs)) / len(logs)
    assert float(with_penalty) == pytest.approx(expected, rel=1e-4)
    assert float(terms["log_norm"]) == pytest.approx(
        float(sum((factor * v)[m].norm().log() for v, m in zip(y, fluid, strict=True))) / 2,
        rel=1e-4,
    )


def test_gradient_flows_through_the_step_length():
    A, b = pressure_system("random", (4, 5))
    r = (b / b.norm())[None]
    y = torch.randn(1, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(7919))
    y.requires_grad_()
    assert torch.autograd.gradcheck(lambda v: line_search_residual(A, r, v), y)
    residual, _ = line_search_residual(A, r, y)
    (gradient,) = torch.autograd.grad(residual.square().sum(), y)
    # an invariant of scale has no slope along y
    assert abs(float((gradient * y.detach()).sum())) < 1e-12
    assert float(gradient.norm()) > 1e-3


def test_what_the_net_says_outside_of_the_fluid_does_not_count():
    batch = unit_batch(("random",))
    y = torch.randn(batch.inputs.shape, generator=torch.Generator().manual_seed(7919))
    other = torch.where(batch.static == 2, y, 100.0)
    assert float(loss_of(y, batch)[0]) == pytest.approx(float(loss_of(other, batch)[0]))


def test_a_direction_of_zero_is_harmless():
    batch = unit_batch(("random",))
    y = torch.zeros(batch.inputs.shape, requires_grad=True)
    value, _ = loss_of(y, batch)
    value.backward()
    assert float(value.detach()) == pytest.approx(1.0)
    assert bool(y.grad.isfinite().all())


def test_one_batch_can_be_learned():
    torch.manual_seed(60013)
    net = DCDMNet(2, hidden_channels=8)
    model, batch = model_of(net), unit_batch(("box", "box"))
    objective = LineSearchResidual()
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
    losses = []
    for step in range(25):
        loss, _ = objective(model, batch, Progress.at(step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.6 * losses[0]


def test_masked_batches_reach_the_net_whole():
    model = model_of(DCDMNet(2, in_channels=4), masks=True)
    loss, _ = LineSearchResidual()(model, unit_batch(masks=True), Progress.at(0))
    assert math.isfinite(float(loss.detach()))


def test_other_data_are_refused():
    spec = CosineSampler((8, 8)).spec
    LineSearchResidual().check_spec(spec)
    flow = replace(spec, name="flow", in_fields=(FieldSpec("vorticity"),))
    with pytest.raises(ValueError, match=r"right-hand sides of Poisson.*'flow' with \['vort"):
        LineSearchResidual().check_spec(flow)
    with pytest.raises(ValueError, match="expected penalty >= 0, got -1"):
        LineSearchResidual(-1.0)
    no_flags = Batch(torch.ones(1, 1, 8, 10))
    with pytest.raises(ValueError, match="cell flags of each system"):
        LineSearchResidual()(model_of(DCDMNet(2)), no_flags, Progress.at(0))
    with pytest.raises(ValueError, match="OneStep: expected data with inputs and outputs"):
        OneStep().check_targets(spec, False)
    LineSearchResidual().check_targets(spec, False)


def history(*norms):
    return Solution(
        torch.zeros(1),
        Status.CONVERGED,
        torch.tensor(True),
        len(norms) - 1,
        torch.tensor(norms),
    )


def test_steps_count_between_two_of_them():
    assert fractional_steps(history(1.0, 1e-2, 1e-4), 1e-3, 9) == pytest.approx(1.5)
    assert fractional_steps(history(1.0, 1e-2), 1e-2, 9) == pytest.approx(1.0)
    assert fractional_steps(history(1e-9, 1e-2), 1e-2, 9) == 0.0
    assert fractional_steps(history(1.0, 0.0), 1e-2, 9) == pytest.approx(0.5)
    assert fractional_steps(history(1.0, 0.1, 2.0), 1e-3, 9) == pytest.approx(11.0, rel=1e-6)
    assert fractional_steps(history(1.0, math.nan), 1e-3, 9) == pytest.approx(12.0, rel=1e-6)


def test_epochs_are_judged_by_the_solver():
    net = DCDMNet(2)
    validation = SolverSteps(rtol=1e-2, max_steps=6)
    assert validation.name(CosineSampler((8, 8)).spec) == "dcdm_iters@0.01"
    assert SolverSteps().name(CosineSampler((8, 8)).spec) == "dcdm_iters@1e-6"
    errors = validation.errors(model_of(net), unit_batch())
    assert errors.shape == (2,)
    assert bool((errors > 0).all())
    assert LineSearchResidual(solver_steps=validation).validation is validation
    with pytest.raises(ValueError, match="cell flags of each system"):
        validation.errors(model_of(net), Batch(torch.ones(1, 1, 8, 10)))


def test_partial_is_described_for_resuming():
    text = describe(functools.partial(LineSearchResidual, penalty=0.5)())
    assert "penalty=0.5" in text
    assert "SolverSteps" in text

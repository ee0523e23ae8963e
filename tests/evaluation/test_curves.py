import math

import pytest
import torch

from sciml.evaluation.curves import error_figure, loss_figure, read_history, spectrum_figure
from tests.evaluation.stand_ins import make_spec


def test_error_curves_are_means_on_a_logarithmic_axis():
    times = torch.tensor([1.0, 2.0, 3.0])
    curves = {
        "LSM": torch.tensor([[0.1, 0.2, 0.3], [0.3, 0.4, 0.5]]),
        "solver": torch.full((2, 3), 0.01),
    }
    figure = error_figure(curves, times)
    axes = figure.axes[0]
    assert axes.get_yscale() == "log"
    assert axes.get_xlabel() == "time"
    assert axes.get_ylabel() == "relative L2 error"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["LSM", "solver"]
    assert axes.lines[0].get_xdata().tolist() == [1, 2, 3]
    assert axes.lines[0].get_ydata().tolist() == pytest.approx([0.2, 0.3, 0.4])
    assert len(axes.collections) == 2  # a band each
    assert len({line.get_color() for line in axes.lines}) == 2


@pytest.mark.parametrize("space", [(16,), (8, 12), (6, 5, 8)])
def test_spectra_of_first_and_last_frame(space):
    generator = torch.Generator().manual_seed(61_001)
    truth = torch.randn(2, 4, 1, *space, generator=generator)
    times = torch.tensor([[1.0, 2.0, 3.0, 4.0]]).repeat(2, 1)
    figure = spectrum_figure(truth, 0.5 * truth, times, make_spec(space))
    assert [axes.get_title() for axes in figure.axes] == ["t = 1", "t = 4"]
    for axes in figure.axes:
        assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
        exact, half, error = (torch.tensor(line.get_ydata()) for line in axes.lines)
        torch.testing.assert_close(half, exact / 4)
        torch.testing.assert_close(error, exact / 4)
    assert figure.axes[0].get_ylabel() == "energy of vorticity (1/s)"


def test_one_frame_gives_one_panel():
    u = torch.randn(1, 1, 1, 8, 8, generator=torch.Generator().manual_seed(61_003))
    assert len(spectrum_figure(u, u, torch.zeros(1, 1), make_spec((8, 8))).axes) == 1


def test_loss_curves_with_validation_and_learning_rate():
    steps = [float(s) for s in range(100)]
    loss = [math.exp(-s / 30) for s in steps]
    history = {
        "train/loss": (steps, loss),
        "train/learning_rate": (steps, [1e-3] * 100),
        "valid/rollout_relative_l2": ([50.0, 99.0], [0.4, 0.2]),
        "time/train_seconds": (steps, steps),
    }
    losses, rate = loss_figure(history).axes
    assert losses.get_yscale() == "log"
    assert [text.get_text() for text in losses.get_legend().get_texts()] == [
        "training loss", "validation rollout relative L2",
    ]  # fmt: skip
    raw, smooth, validation = losses.lines
    assert raw.get_ydata() == pytest.approx(loss)
    # A running median of a monotonous line is the line, shifted by no step.
    at = dict(zip(smooth.get_xdata(), smooth.get_ydata(), strict=True))
    assert at[50.0] == pytest.approx(loss[50], rel=0.05)
    assert list(validation.get_xdata()) == [50.0, 99.0]
    assert rate.get_ylabel() == "learning rate"
    assert rate.get_xlabel() == "optimiser step"


def test_loss_without_learning_rate_has_one_panel():
    assert len(loss_figure({"train/loss": ([1.0], [0.5])}).axes) == 1


def test_history_leaves_blanks_out(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text(
        "epoch,step,train/loss,valid/relative_l2\n0,10,0.5,\n0,20,0.25,\n1,20,,0.75\n,,0.1,\n"
    )
    assert read_history(path) == {
        "train/loss": ([10.0, 20.0], [0.5, 0.25]),
        "valid/relative_l2": ([20.0], [0.75]),
    }


@pytest.mark.parametrize("bad", [0.0, float("nan"), float("inf")])
def test_perfect_and_diverged_forecasts_are_drawn(bad):
    times = torch.tensor([1.0, 2.0])
    figure = error_figure({"LSM": torch.tensor([[0.1, bad], [0.2, bad]])}, times)
    figure.canvas.draw()
    figure = error_figure({"LSM": torch.full((2, 2), bad)}, times)
    figure.canvas.draw()
    truth = torch.randn(1, 2, 1, 8, 8, generator=torch.Generator().manual_seed(61_007))
    figure = spectrum_figure(truth, truth + bad, times[None], make_spec((8, 8)))
    figure.canvas.draw()
    loss_figure({"train/loss": ([1.0, 2.0], [0.5, bad])}).canvas.draw()

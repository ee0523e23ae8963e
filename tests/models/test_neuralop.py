import sys

import pytest
import torch
from torch import nn

from sciml.domain import Box
from sciml.models.neuralop import NeuralOperator
from sciml.spec import DatasetSpec, FieldSpec

UNO = {
    "hidden_channels": 4, "n_layers": 3, "lifting_channels": 8, "projection_channels": 8,
    "uno_out_channels": [4, 4, 4], "uno_n_modes": [[4, 4], [2, 2], [4, 4]],
    "uno_scalings": [[1.0, 1.0], [0.5, 0.5], [2.0, 2.0]], "channel_mlp_skip": "linear",
}  # fmt: skip
CASES = [
    ("FNO", {"n_modes": [4], "hidden_channels": 4, "n_layers": 2}, (9,)),
    ("FNO", {"n_modes": [4, 6], "hidden_channels": 4, "n_layers": 2}, (8, 12)),
    ("FNO", {"n_modes": [4, 4, 4], "hidden_channels": 4, "n_layers": 1}, (6, 7, 8)),
    ("TFNO", {"n_modes": [4, 4], "hidden_channels": 4, "n_layers": 2, "rank": 0.5}, (8, 9)),
    ("UNO", UNO, (8, 8)),
]
FNO = CASES[1][1]


def filled(model):
    """Weights from the position alone, so that nothing rests on a random generator."""
    with torch.no_grad():
        for i, parameter in enumerate(model.parameters()):
            values = torch.arange(parameter.numel(), dtype=torch.float32).reshape(
                parameter.shape
            )
            parameter.copy_(torch.sin(values + i) / 4)
    return model


@pytest.mark.parametrize(("architecture", "options", "space"), CASES)
def test_maps_channels_on_the_grid_and_trains_every_parameter(architecture, options, space):
    model = NeuralOperator(3, 2, architecture, options)
    assert model.ndim == len(space)
    output = model(torch.randn(2, 3, *space))
    assert output.shape == (2, 2, *space)
    output.square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(
            torch.view_as_real(parameter.grad) if parameter.is_complex() else parameter.grad
        ).all()


@pytest.mark.parametrize(("architecture", "options", "space"), CASES)
def test_arguments_and_state_rebuild_it(architecture, options, space):
    model = filled(NeuralOperator(1, 1, architecture, options))
    state = nn.ModuleDict({"inner": model}).state_dict()
    assert all(isinstance(value, torch.Tensor) for value in state.values())
    again = NeuralOperator(**model.arguments)
    nn.ModuleDict({"inner": again}).load_state_dict(state)
    u = torch.linspace(-1, 1, 2 * torch.Size(space).numel()).reshape(2, 1, *space)
    assert torch.equal(again(u), model(u))


def test_agrees_with_the_library_called_directly():
    from neuralop.models import FNO as Library

    library = filled(Library(in_channels=1, out_channels=1, **FNO))
    model = filled(NeuralOperator(1, 1, "FNO", FNO))
    u = torch.linspace(-1, 1, 2 * 8 * 12).reshape(2, 1, 8, 12)
    assert torch.equal(model(u), library(u))


def test_nothing_is_printed(capfd):
    NeuralOperator(1, 1, "UNO", UNO)
    assert capfd.readouterr() == ("", "")


def spec(axes=("x", "y"), history=2):
    d = len(axes)
    box = Box(axes, (0.0,) * d, (1.0,) * d, (True,) * d)
    fields = (FieldSpec("vorticity"),)
    return DatasetSpec("flow", box, (8,) * d, fields, fields, dt=1.0, history=history)


def test_from_spec_takes_channels_from_the_data():
    model = NeuralOperator.from_spec(spec(), options=FNO)
    assert (model.in_channels, model.out_channels, model.ndim) == (2, 1, 2)
    assert model.arguments["architecture"] == "FNO"


def test_modes_for_other_axes_are_refused():
    with pytest.raises(
        ValueError, match=r"expected modes for the 1 axes \('x',\) of 'flow', got modes for 2"
    ):
        NeuralOperator.from_spec(spec(("x",)), options=FNO)


def test_nearest_names_are_given():
    with pytest.raises(ValueError, match="got 'tfn'; did you mean 'TFNO'"):
        NeuralOperator(1, 1, "tfn", FNO)
    with pytest.raises(
        ValueError, match="got 'hidden_chanels'; did you mean 'hidden_channels'"
    ):
        NeuralOperator(1, 1, "TFNO", {"n_modes": [4, 4], "hidden_chanels": 4})
    with pytest.raises(ValueError, match=r"got 'GINO'.*Valid: .*FNO"):
        NeuralOperator(1, 1, "GINO", FNO)


def test_options_that_the_library_refuses_are_explained():
    with pytest.raises(ValueError, match=r"expected options that FNO accepts.*hidden_channels"):
        NeuralOperator(1, 1, "FNO", {"n_modes": [4, 4]})


def test_parameters_that_it_cannot_use_are_refused():
    model = NeuralOperator(1, 1, "FNO", FNO)
    with pytest.raises(ValueError, match="got params, but this model"):
        model(torch.ones(1, 1, 8, 12), params=torch.ones(1, 1))
    with pytest.raises(ValueError, match="expected 1 input channels, got 2"):
        model(torch.ones(1, 2, 8, 12))


def test_the_library_is_imported_only_when_a_model_is_built():
    import subprocess

    code = "import sys, sciml.models.neuralop; sys.exit('neuralop' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

import sciml.training.checkpoint as checkpoint
from sciml.training.checkpoint import load, save_surrogate
from sciml.training.normalized import NormalizedModel
from sciml.training.surrogate import Surrogate
from tests.training.diffusion import Convolution, convolution, diffusion_data

TRUSTED = ("tests",)


class Spectral(Convolution):
    """Complex weights, tied names, and arguments beyond the base class."""

    def __init__(self, in_channels: int, out_channels: int, **options: int) -> None:
        super().__init__(in_channels, out_channels, **options)
        self.weight = nn.Parameter(torch.full((3, 2), 1 - 2j, dtype=torch.complex64))

    def state_dict(self, *arguments, **keywords):
        state = super().state_dict(*arguments, **keywords)
        state["_metadata"] = {"version": 1}  # as some libraries do
        return state


@pytest.fixture(scope="module")
def data():
    return diffusion_data(history=2)


@pytest.fixture
def surrogate(data):
    return Surrogate(NormalizedModel.from_data(convolution(data, hidden_channels=3), data))


@pytest.fixture
def folder(surrogate, tmp_path):
    save_surrogate(surrogate, tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize("name", ["", "surrogate.json", "surrogate.safetensors"])
def test_round_trip_is_exact(surrogate, folder, name):
    loaded = load(folder / name, trusted_modules=TRUSTED)
    u = 5 + torch.randn(3, 2, 8, 8)
    assert torch.equal(loaded(u), surrogate(u))
    assert torch.equal(loaded.rollout(u, 4), surrogate.rollout(u, 4))
    assert loaded.spec == surrogate.spec
    assert loaded.model.increment is True
    assert sorted(path.name for path in folder.iterdir()) == [
        "surrogate.json",
        "surrogate.safetensors",
    ]


def test_double_precision_is_kept(surrogate, tmp_path):
    surrogate.to(dtype=torch.float64)
    surrogate.save(tmp_path)
    loaded = load(tmp_path, trusted_modules=TRUSTED)
    u = torch.randn(1, 2, 8, 8, dtype=torch.float64)
    assert torch.equal(loaded(u), surrogate(u))


def test_complex_weights_and_keyword_arguments(data, tmp_path):
    network = Spectral(2, 1, hidden_channels=4)
    network.weight.data[1, 1] = 3 + 0.5j
    Surrogate(NormalizedModel.from_data(network, data)).save(tmp_path)
    loaded = load(tmp_path, trusted_modules=TRUSTED).model.network
    assert torch.equal(loaded.weight, network.weight)
    assert loaded.lift.out_channels == 4
    assert loaded.weight.requires_grad


def test_json_tells_what_is_inside(folder):
    described = json.loads((folder / "surrogate.json").read_text())
    assert described["class"].endswith("diffusion.Convolution")
    assert described["arguments"] == {
        "in_channels": 2,
        "out_channels": 1,
        "hidden_channels": 3,
        "dropout": 0.0,
    }
    assert described["tensors"]["network.lift.weight"]["shape"] == [3, 2, 3, 3]
    assert described["normalization"]["inputs"] == {
        "num_channels": 1,
        "kind": "zscore",
        "space": [],
    }


def change(folder: Path, **values):
    path = folder / "surrogate.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_only_trusted_classes_are_built(folder):
    with pytest.raises(
        ValueError, match=r"diffusion.Convolution, which is outside .* pass trusted"
    ):
        load(folder)
    change(folder, **{"class": "sciml.spec.Batch"})
    with pytest.raises(
        ValueError, match=r"asks for sciml.spec.Batch, which is not a SurrogateModel"
    ):
        load(folder)
    change(folder, **{"class": "sciml.models.unknown.Model"})
    with pytest.raises(ValueError, match="Model, which cannot be imported"):
        load(folder)
    change(folder, **{"class": "scimlike.Model"})
    with pytest.raises(ValueError, match=r"scimlike.Model, which is outside"):
        load(folder)


def test_another_model_or_other_channels(folder, data, tmp_path):
    change(folder, arguments={"in_channels": 2, "out_channels": 1, "hidden_channels": 5})
    with pytest.raises(
        ValueError,
        match=r"network.lift.weight has shape \(3, 2, 3, 3\), the model \(5, 2, 3, 3\)",
    ):
        load(folder, trusted_modules=TRUSTED)
    change(folder, arguments={"in_channels": 4, "out_channels": 1, "hidden_channels": 3})
    with pytest.raises(ValueError, match=r"expected a network with 2 input .* got 4 and 1"):
        load(folder, trusted_modules=TRUSTED)


@pytest.mark.parametrize("keep", [0, 10, -1])
def test_cut_tensors_are_reported(folder, keep):
    stored = folder / "surrogate.safetensors"
    stored.write_bytes(stored.read_bytes()[:keep])
    with pytest.raises(
        ValueError, match=r"surrogate.safetensors is not the file .* cut or swapped"
    ):
        load(folder, trusted_modules=TRUSTED)


def test_swapped_tensors_are_reported(folder, data, tmp_path):
    other = Surrogate(
        NormalizedModel.from_data(convolution(data, seed=7, hidden_channels=3), data)
    )
    other.save(tmp_path / "other")
    shutil.copy(tmp_path / "other" / "surrogate.safetensors", folder)
    with pytest.raises(ValueError, match="its checksum differs"):
        load(folder, trusted_modules=TRUSTED)


def test_bad_json(folder):
    path = folder / "surrogate.json"
    whole = path.read_text()
    path.write_text(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"surrogate.json is not a complete JSON file .* cut"):
        load(folder)
    path.write_text('{"format": 1}')
    with pytest.raises(
        ValueError, match=r"does not describe a surrogate, it lacks \['arguments'"
    ):
        load(folder)
    path.write_text(whole.replace('"format": 1', '"format": 99'))
    with pytest.raises(ValueError, match="has format 99, this version reads format 1"):
        load(folder)


def test_missing_paths(folder):
    with pytest.raises(FileNotFoundError, match=r"there is no .*/rum; nearest names: .*/run"):
        load(folder.parent / "rum")
    with pytest.raises(FileNotFoundError, match=r"nearest names: .*/run$"):
        load(folder.parent / "rum" / "surrogate.json")
    (folder / "last.ckpt").write_bytes(b"")
    with pytest.raises(
        ValueError, match=r"expected a run folder, .json or .safetensors, got .*ckpt"
    ):
        load(folder / "last.ckpt")
    (folder / "surrogate.safetensors").rename(folder / "moved")
    with pytest.raises(FileNotFoundError, match=r"expected surrogate.safetensors beside"):
        load(folder)
    (folder / "surrogate.json").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"expected surrogate.json in .*/run, found none"
    ):
        load(folder)


@pytest.mark.parametrize("failing", [1, 3])
def test_full_disk_leaves_nothing_that_passes_for_whole(
    surrogate, data, folder, monkeypatch, failing
):
    before = surrogate(torch.ones(1, 2, 8, 8))
    calls = []

    def full(_):
        calls.append(1)
        if len(calls) == failing:
            raise OSError(28, "No space left on device")

    other = Surrogate(
        NormalizedModel.from_data(convolution(data, seed=7, hidden_channels=3), data)
    )
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"surrogate.*No space left.*free space"):
        other.save(folder)
    assert len(list(folder.iterdir())) == 2
    if failing == 1:  # the earlier pair is untouched
        assert torch.equal(
            load(folder, trusted_modules=TRUSTED)(torch.ones(1, 2, 8, 8)), before
        )
    else:  # new tensors with the old description do not pass
        with pytest.raises(ValueError, match="its checksum differs"):
            load(folder, trusted_modules=TRUSTED)


def test_read_only_folder(surrogate, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(checkpoint, "save_file", refuse)
    with pytest.raises(OSError, match=r"safetensors, got Permission denied.*choose a folder"):
        surrogate.save(tmp_path / "new")
    assert not list((tmp_path / "new").iterdir())


def test_arguments_that_json_cannot_hold(data, tmp_path):
    network = convolution(data)
    network.arguments["hidden_channels"] = torch.nn.ReLU()
    surrogate = Surrogate(NormalizedModel.from_data(network, data))
    with pytest.raises(
        TypeError, match="expected plain JSON values as arguments of Convolution"
    ):
        surrogate.save(tmp_path)
    assert not list(tmp_path.iterdir())

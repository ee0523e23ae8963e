import pickle
from pathlib import Path

import pytest
import torch
import yaml

from sciml.data.dataset import open_dataset
from sciml.data.draws import Draw
from sciml.data.options import OpenOptions
from sciml.data.plan import FilePlan
from tests.data.well_files import Field, write_well

CONF = Path(__file__).resolve().parents[2] / "conf" / "dataset"
FIELDS = (Field("a"), Field("v", 1))


@pytest.fixture
def paths(tmp_path):
    for name in "ab":
        write_well(
            tmp_path / f"{name}.h5", num_trajectories=10, resolution=(8, 8), fields=FIELDS
        )
    return [tmp_path / "a.h5", tmp_path / "b.h5"]


def test_options_reach_the_data_set(paths):
    plan = FilePlan(
        "toy",
        paths,
        {"batch_size": 4, "history": 2},
        {
            "fields": ["v"],
            "resample": {"size": 6, "method": "fourier"},
            "augment": ["roll", "rot90"],
            "pseudo_fields": None,
            "proportions": [3, 1],
            "max_stride": 2,
            "residence": "stream",
        },
    )
    assert plan.spec().resolution == (6, 6)
    assert plan.spec().in_channels == 4
    dataset = plan.open(seed=40_009).dataset
    assert dataset.augmentation.operations == ("roll", "rot90")
    assert dataset.mixture.proportions == (3, 1)
    assert dataset.windows.max_stride == 2
    batch = next(iter(plan.open(seed=40_009).train_loader(1)))
    assert batch.inputs.shape == (4, 4, 6, 6)
    again = pickle.loads(pickle.dumps(dataset)).batch([5, 50], draw=Draw(40_009, 2))
    assert torch.equal(again.inputs, dataset.batch([5, 50], draw=Draw(40_009, 2)).inputs)


def test_defaults_of_the_configuration_change_nothing(paths):
    """Every option that the YAML names is one of open_dataset; null is the default."""
    config = yaml.safe_load((CONF / "files" / "grid.yaml").read_text())
    known = OpenOptions.__annotations__.keys() | {"format", "splits"}
    assert config["options"].keys() <= known
    plan = FilePlan("toy", paths[0], config["views"], config["options"])
    dataset = plan.open(seed=40_009).dataset
    plain = open_dataset(paths[0])
    assert dataset.spec == plain.spec
    assert dataset.windows == plain.windows
    assert dataset.augmentation is None
    assert type(dataset.source) is type(plain.source)


def test_misspelt_options_are_errors(paths):
    with pytest.raises(TypeError, match="histroy"):
        FilePlan("toy", paths[0], {}, {"histroy": 2}).spec()
    with pytest.raises(ValueError, match=r"expected dataset.path=FILE_OR_FOLDER, got none"):
        FilePlan("toy", None, {}).spec()

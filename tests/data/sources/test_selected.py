import numpy as np
import pytest

from sciml.data.dataset import open_dataset
from sciml.data.sources import open_source
from sciml.data.sources.selected import SelectedSource
from tests.data.pairs import Pairs
from tests.data.well_files import Field, write_well

FIELDS = (Field("a"), Field("b"), Field("v", 1), Field("mask", time_varying=False))


def test_named_fields_in_the_order_of_the_file(tmp_path):
    frames, static = write_well(tmp_path / "a.h5", fields=FIELDS)
    source = SelectedSource(open_source(tmp_path), ["v", "a"])
    assert [f.name for f in source.spec.in_fields] == ["a", "v"]
    assert source.spec.out_fields == source.spec.in_fields
    assert source.spec.frame_channels == 3
    out = np.empty((2, 3, 6, 4), np.float32)
    source.read(1, 0, 4, 3, out)
    np.testing.assert_array_equal(out, frames[1, [0, 3]][:, [0, 2, 3]].astype("f4"))
    still = np.empty((1, 6, 4), np.float32)
    source.read_static(1, still)
    np.testing.assert_array_equal(still, static[1].astype("f4"))
    assert "only the fields a, v (75% of what is read)" in source.describe()


def test_fields_of_pairs_and_clouds():
    pairs = Pairs(3)
    source = SelectedSource(pairs, ["flux", "coefficient"])
    out = np.empty((2, 6, 5), np.float32)
    source.read_targets(2, out)
    np.testing.assert_array_equal(out, pairs.outputs[2])
    cloud = SelectedSource(Pairs(2, points=(4, 7)), ["coefficient", "flux"])
    assert cloud.num_points(0) == 4
    few = np.empty((2, 4), np.float32)
    cloud.read_targets(0, few)
    np.testing.assert_array_equal(few, cloud.source.outputs[0])


def test_through_open_dataset(tmp_path):
    frames, _ = write_well(tmp_path / "a.h5", fields=FIELDS)
    dataset = open_dataset(tmp_path, fields=["b"], history=2)
    assert dataset.spec.in_channels == 2
    batch = dataset.batch([0])
    np.testing.assert_array_equal(batch.inputs[0], frames[0, :2, 1].astype("f4"))


def test_fingerprint_depends_on_the_fields(tmp_path):
    write_well(tmp_path / "a.h5", fields=FIELDS)
    source = open_source(tmp_path)
    prints = {SelectedSource(source, names).fingerprint for names in (["a"], ["b"], ["a", "b"])}
    assert len(prints | {source.fingerprint}) == 4
    reordered = SelectedSource(source, ["b", "a"])
    assert reordered.fingerprint == SelectedSource(source, ["a", "b"]).fingerprint


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (["pressure"], r"fields of \['coefficient', 'flux'\], got 'pressure'; did you mean"),
        (
            ["flux"],
            r"one of the inputs \['coefficient'\] and one of the outputs .* got \['flux'\]",
        ),
        (["flux", "coefficient", "flux"], "expected each field once"),
        ([], "with at least one of the inputs"),
    ],
)
def test_impossible_selections(fields, message):
    with pytest.raises(ValueError, match=message):
        SelectedSource(Pairs(), fields)

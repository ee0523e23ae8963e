import h5py
import pytest

from sciml.data.sources import open_source
from sciml.data.sources.files import find_files, is_hdf5
from tests.data.well_files import write_well


def test_content_decides_and_not_the_name(tmp_path):
    write_well(tmp_path / "data.csv")
    assert open_source(tmp_path / "data.csv").num_trajectories == 3
    (tmp_path / "real.hdf5").write_text("x,y\n1,2\n")
    with pytest.raises(
        ValueError, match=r"signature of HDF5.*, got .*real\.hdf5 of 8 bytes.*b'x,y"
    ):
        open_source(tmp_path / "real.hdf5")


def test_signature_behind_a_user_block(tmp_path):
    for size in (512, 2048):
        with h5py.File(tmp_path / "block.mat", "w", userblock_size=size) as file:
            file["u"] = [1.0]
        assert is_hdf5(tmp_path / "block.mat")
    (tmp_path / "text").write_bytes(b" " * 4096)
    assert not is_hdf5(tmp_path / "text")


def test_cards_and_unfinished_files_are_passed_over(tmp_path):
    folder = tmp_path / "set" / "data" / "train"
    write_well(folder / "b.hdf5")
    write_well(folder / "a.hdf5")
    write_well(folder / ".c.hdf5.tmp")
    write_well(folder / "d.hdf5.part")
    (folder / "README.md").write_text("card")
    (folder / "stats.yaml").write_text("mean: {}")
    files = find_files(tmp_path / "set")
    assert {name: [p.name for p in paths] for name, paths in files.items()} == {
        "train": ["a.hdf5", "b.hdf5"]
    }


@pytest.mark.parametrize("below", ["", "set", "set/data", "set/data/train"])
def test_every_level_of_a_data_set_opens(tmp_path, below):
    write_well(tmp_path / "set" / "data" / "train" / "a.hdf5")
    (tmp_path / "set" / "data" / "valid").mkdir()
    source = open_source(tmp_path / below)
    assert source.num_trajectories == 3
    assert dict(source.splits) == ({} if below.endswith("train") else {"train": range(3)})


def test_several_data_sets_are_listed(tmp_path):
    for name in ("burgers", "darcy"):
        write_well(tmp_path / name / "data" / "train" / "a.hdf5")
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        ValueError, match=r"one data set in .*got 2 \(burgers, darcy\); open one"
    ):
        open_source(tmp_path)


def test_folder_without_files(tmp_path):
    (tmp_path / "data" / "train").mkdir(parents=True)
    with pytest.raises(
        FileNotFoundError, match=r"expected data files in .*got none; generate or"
    ):
        open_source(tmp_path)


def test_missing_path_names_the_nearest(tmp_path):
    write_well(tmp_path / "navier_stokes" / "a.hdf5")
    with pytest.raises(
        FileNotFoundError, match=r"got .*navier_stoke; did you mean .*_stokes\?"
    ):
        open_source(tmp_path / "navier_stoke")
    with pytest.raises(FileNotFoundError, match=r"holds \['navier_stokes'\]"):
        open_source(tmp_path / "zzz" / "deeper")


@pytest.mark.parametrize("keep", [0, 4, 700, -100])
def test_truncated_file_is_named_with_the_remedy(tmp_path, keep):
    write_well(tmp_path / "data" / "train" / "whole.hdf5")
    path = tmp_path / "data" / "train" / "zut.hdf5"
    write_well(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"truncated.*zut\.hdf5.*delete it and generate"):
        open_source(tmp_path)


def test_unknown_keys_and_format(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["vibration"] = [1.0]
        file.attrs["code"] = "x"
    with pytest.raises(ValueError, match=r"formats well.*keys \['vibration'\].*\['code'\]"):
        open_source(tmp_path / "a.h5")
    with pytest.raises(ValueError, match="expected the group 'dimensions'"):
        open_source(tmp_path / "a.h5", format="well")
    with pytest.raises(ValueError, match=r"format of \['well'.*\], got 'wall'"):
        open_source(tmp_path / "a.h5", format="wall")
    with pytest.raises(ValueError, match=r"back end of .*'mmap'.*'h5py'.* got 'map'"):
        open_source(tmp_path / "a.h5", back_end="map")

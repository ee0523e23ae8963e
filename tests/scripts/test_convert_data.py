import importlib.util
from pathlib import Path

import pytest

from sciml.data.sources import open_source
from tests.data.well_files import write_well

SCRIPT = Path(__file__).parents[2] / "scripts" / "convert_data.py"


@pytest.fixture(scope="module")
def main():
    spec = importlib.util.spec_from_file_location("convert_data", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


def test_files_are_listed_and_finished_ones_kept(main, tmp_path, capsys):
    write_well(tmp_path / "source" / "a.h5", num_trajectories=4)
    arguments = [str(tmp_path / "source"), str(tmp_path / "there"), "--format", "pdebench"]
    assert main(arguments) == 0
    written = [Path(line) for line in capsys.readouterr().out.split()]
    assert [path.name for path in written] == ["toy-0000000-0000003.hdf5"]
    assert open_source(tmp_path / "there").num_trajectories == 4
    before = written[0].stat().st_mtime_ns
    assert main(arguments) == 0
    assert written[0].stat().st_mtime_ns == before


def test_size_of_shards_and_format_of_the_source(main, tmp_path, capsys):
    write_well(tmp_path / "source" / "a.h5", resolution=(64, 64), num_steps=25)
    arguments = [str(tmp_path / "source"), str(tmp_path / "there"), "--shard-mb", "1"]
    assert main([*arguments, "--source-format", "well"]) == 0
    assert len(capsys.readouterr().out.split()) == 2
    assert main([*arguments, "--source-format", "pdebench"]) == 1
    assert "PDEBench" in capsys.readouterr().err


def test_error_is_one_line_and_a_status(main, tmp_path, capsys):
    assert main([str(tmp_path / "nowhere"), str(tmp_path / "there")]) == 1
    captured = capsys.readouterr()
    assert "convert_data.py: open_source: expected an existing file" in captured.err
    assert captured.out == ""
    assert not (tmp_path / "there").exists()

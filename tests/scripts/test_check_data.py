import importlib.util
from pathlib import Path

import h5py
import matplotlib as mpl
import matplotlib.image
import numpy as np
import pytest

from sciml.data.sources.joined import JoinedSource
from tests.data.frames import Frames
from tests.data.pairs import Pairs
from tests.data.well_files import Field, write_well

SCRIPT = Path(__file__).parents[2] / "scripts" / "check_data.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("check_data", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_sound_data_set(script, tmp_path, capsys):
    write_well(tmp_path / "a.h5", fields=[Field("p"), Field("v", 1)])
    sheet = tmp_path / "sheet.png"
    assert script.main([str(tmp_path), "--sheet", str(sheet), "--channel", "2"]) == 0
    printed = capsys.readouterr().out
    assert "toy: 1 file, 3 trajectories" in printed
    assert "values of v 2: min " in printed
    assert "frames that are not finite: 0" in printed
    assert f"sheet: {sheet}" in printed
    image = matplotlib.image.imread(sheet)
    assert min(image.shape[:2]) > 300
    assert len(np.unique(image.reshape(-1, image.shape[-1]), axis=0)) > 50


def test_values_that_are_not_finite(script, tmp_path, capsys):
    write_well(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["t0_fields/vorticity"][1, 3, 2, 2] = np.nan
    assert script.main([str(tmp_path)]) == 1
    printed = capsys.readouterr().out
    assert "frames that are not finite: 1" in printed
    assert "a.h5, trajectory 1, frame 3: vorticity has 1 NaN and 0 infinite of 24" in printed
    assert script.main([str(tmp_path), "--quick"]) == 0
    assert "finite" not in capsys.readouterr().out


def test_departures_from_the_layout(script, tmp_path, capsys):
    write_well(tmp_path / "a.h5", fields=[Field("t", 2)])
    assert script.main([str(tmp_path), "--quick"]) == 1
    printed = capsys.readouterr().out
    assert "departure from The Well's layout: " in printed
    assert "/t2_fields/t: expected the attributes symmetric" in printed


def test_error_is_one_line_and_a_status(script, tmp_path, capsys):
    (tmp_path / "a.h5").write_bytes(b"nothing")
    assert script.main([str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("check_data.py: open_source: expected")
    write_well(tmp_path / "a.h5")
    sheet = tmp_path / "sheet.png"
    assert script.main([str(tmp_path), "--sheet", str(sheet), "--channel", "7"]) == 1
    assert "field_label: expected a channel below 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("part", "panels"),
    [
        (Frames((7,)), 3 * 4),
        (Frames((6, 5)), 3 * 4),
        (Frames((3, 4, 5)), 3 * 4),
        (Frames((6, 5), count=2, lengths=np.array([1, 1])), 2),
        (Pairs(), 3 * 2),
        (Pairs(points=(5, 4, 3, 6)), 3 * 2),
    ],
    ids=["1-D", "2-D", "3-D", "one frame", "pairs", "points"],
)
def test_sheet_of_every_kind(script, part, panels):
    figure = script.draw_sheet(JoinedSource({"": [part]}), 0)
    drawn = [axes for axes in figure.axes if axes.lines or axes.images or axes.collections]
    titled = [axes for axes in drawn if axes.get_title()]
    assert len(titled) == panels
    assert figure.get_suptitle().startswith(f"{part.spec.name}: ")
    assert titled[0].get_xlabel() == "x"


def test_image_has_x_to_the_right_and_y_upwards(script):
    part = Frames((6, 5))
    figure = script.draw_sheet(JoinedSource({"": [part]}), 0)
    (image,) = figure.axes[0].images
    np.testing.assert_array_equal(image.get_array(), part.frames[0, 0, 0].T)
    assert image.origin == "lower"
    assert image.get_extent() == [0.0, 2.0, 0.0, 2.0] or image.get_extent() == (
        0.0,
        2.0,
        0.0,
        2.0,
    )
    assert mpl.rcParams["axes.spines.top"]  # the style of the sheet stays inside it

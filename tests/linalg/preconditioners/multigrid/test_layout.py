import numpy as np
import pytest
import torch

from sciml.linalg.preconditioners.multigrid.layout import SplitLayout

SHAPES = [(4, 6), (5, 7), (1, 9), (9, 1), (1, 1), (3, 3), (5, 4, 3), (6, 2, 8), (1, 1, 5)]


def random_field(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(91_827_365)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("batch", [(), (3,), (2, 1)])
def test_unpack_inverts_pack(shape: tuple[int, ...], batch: tuple[int, ...]) -> None:
    layout = SplitLayout(shape)
    field = random_field(*batch, *shape)
    packed = layout.pack(field)
    assert packed.shape == (*batch, 2, layout.width)
    assert torch.equal(layout.unpack(packed), field)
    assert packed.abs().sum() == pytest.approx(float(field.abs().sum()))  # nothing else in it


@pytest.mark.parametrize("shape", SHAPES)
def test_shifts_meet_the_neighbours_along_each_axis(shape: tuple[int, ...]) -> None:
    layout = SplitLayout(shape)
    field = random_field(*shape)
    packed = layout.pack(field)
    for axis, size in enumerate(shape):
        for side in (0, 1):
            found = torch.zeros_like(packed)
            for colour in (0, 1):
                shift = layout.shifts(colour)[axis][side]
                found[colour, layout.interior] = packed[1 - colour, layout.shifted(shift)]
            expected = torch.zeros_like(field)
            here, there = (1, 0) if side == 0 else (0, 1)
            expected.narrow(axis, here, size - 1).copy_(field.narrow(axis, there, size - 1))
            assert torch.equal(layout.unpack(found), expected)


@pytest.mark.parametrize("shape", SHAPES)
def test_rows_are_the_colours_of_a_checkerboard(shape: tuple[int, ...]) -> None:
    layout = SplitLayout(shape)
    parity = torch.from_numpy(np.indices(shape).sum(0) % 2)
    packed = layout.pack(parity + 1)
    assert set(packed[0].tolist()) <= {0, 1}
    assert set(packed[1].tolist()) <= {0, 2}


def test_entries_are_where_pack_puts_the_cells() -> None:
    layout = SplitLayout((5, 4, 7))
    cells = np.indices(layout.shape).reshape(3, -1)
    field = torch.arange(140).reshape(layout.shape)
    interior = layout.pack(field)[:, layout.interior].numpy()
    rows = cells.sum(0) % 2
    assert np.array_equal(interior[rows, layout.entries(cells)], np.arange(140))


def test_pack_into_rows_of_another_type() -> None:
    layout = SplitLayout((3, 4))
    flags = torch.arange(12, dtype=torch.uint8).reshape(3, 4)
    rows = torch.zeros((2, layout.width))
    assert layout.pack(flags, rows) is rows
    assert torch.equal(layout.unpack(rows), flags.float())


@pytest.mark.parametrize("window", [(slice(2, 5), slice(0, 7)), (slice(0, 6), slice(4, 7))])
def test_a_window_of_the_grid(window: tuple[slice, ...]) -> None:
    layout = SplitLayout((6, 7), window)
    field = random_field(3, 6, 7)
    packed = layout.pack(field)
    expected = torch.zeros_like(field)
    expected[:, window[0], window[1]] = field[:, window[0], window[1]]
    assert torch.equal(layout.unpack(packed), expected)
    assert packed.shape[-1] < SplitLayout((6, 7)).width
    cells = np.indices((6, 7))[:, window[0], window[1]].reshape(2, -1)
    interior = packed[:, :, layout.interior].numpy()
    found = interior[0, cells.sum(0) % 2, layout.entries(cells)]
    assert np.array_equal(found, field[0].numpy()[tuple(cells)])

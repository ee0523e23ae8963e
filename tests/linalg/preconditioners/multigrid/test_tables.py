import numpy as np
import pytest
from scipy import ndimage

from sciml.linalg.preconditioners.multigrid.tables import piece_tables


@pytest.mark.parametrize("dimension", [2, 3])
def test_tables_against_flood_fill(dimension: int) -> None:
    tables = piece_tables(dimension)
    corners = np.array(tables.corners)
    for code in range(2 ** len(corners)):
        occupied = (code >> np.arange(len(corners))) & 1
        block = np.zeros((2,) * dimension, int)
        block[tuple(corners.T)] = occupied
        labels, count = ndimage.label(block)
        assert tables.num_pieces[code] == count
        own = labels[tuple(corners.T)]
        for piece in range(count):
            members = np.flatnonzero((tables.piece[:, code] == piece) & (occupied == 1))
            assert len(set(own[members])) == 1
            assert (own == own[members[0]]).sum() == len(members)
            assert tables.volume[piece, code] == len(members)
            assert np.array_equal(tables.moment[piece, :, code], corners[members].sum(0))

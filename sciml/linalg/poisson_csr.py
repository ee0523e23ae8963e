"""The pressure operator as a scipy matrix, for baselines that want one."""

import numpy as np
import scipy.sparse
from torch import Tensor

from sciml.linalg.poisson_faces import Faces


def compressed_rows(faces: Faces, diagonal: Tensor) -> scipy.sparse.csr_array:
    """One geometry's operator over all cells in C order, without entries that are zero.

    Args:
        faces: Faces of the geometry.
        diagonal: Sum of the weights around each fluid cell.
    """
    size = diagonal.numel()
    numbers = np.arange(size, dtype=np.int32 if size < 2**31 else np.int64)
    numbers = numbers.reshape(diagonal.shape)
    values = diagonal.detach().cpu().numpy()
    entries, rows, columns = [values[values != 0]], [numbers[values != 0]], []
    columns.append(rows[0])
    for axis, weight, both in zip(
        faces.axes, faces.couplings, faces.between_fluid(), strict=True
    ):
        linked = both.cpu().numpy()
        count = numbers.shape[axis]
        low = numbers.take(range(count - 1), axis)[linked]
        high = numbers.take(range(1, count), axis)[linked]
        off_diagonal = -weight.detach().cpu().numpy()[linked]
        entries += [off_diagonal, off_diagonal]
        rows += [low, high]
        columns += [high, low]
    places = (np.concatenate(rows), np.concatenate(columns))
    matrix = scipy.sparse.coo_array((np.concatenate(entries), places), shape=(size, size))
    return matrix.tocsr()

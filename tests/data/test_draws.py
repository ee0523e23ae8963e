import numpy as np

from sciml.data.draws import Draw


def test_numbers_belong_to_seed_epoch_sample_and_purpose():
    draw = Draw(90_001, 4)
    rows = draw.uniform([7, 3, 12], 5, "augment")
    np.testing.assert_array_equal(draw.uniform([12], 5, "augment")[0], rows[2])
    np.testing.assert_array_equal(draw.uniform([3, 7], 5, "augment"), rows[[1, 0]])
    others = [
        Draw(90_003, 4).uniform([7], 5, "augment"),
        Draw(90_001, 5).uniform([7], 5, "augment"),
        draw.uniform([8], 5, "augment"),
        draw.uniform([7], 5, "stride"),
    ]
    for other in others:
        assert not np.isin(other, rows).any()


def test_numbers_are_evenly_distributed_over_samples():
    rows = Draw(90_001, 0).uniform(range(4000), 2, "stride")
    counts = np.stack([np.histogram(column, 20, (0, 1))[0] for column in rows.T])
    # chi-square with 19 degrees of freedom exceeds 43.8 with probability 0.001
    assert (((counts - 200) ** 2 / 200).sum(axis=1) < 43.8).all()
    assert abs(np.corrcoef(rows.T)[0, 1]) < 0.06
    assert abs(np.corrcoef(rows[:-1, 0], rows[1:, 0])[0, 1]) < 0.06

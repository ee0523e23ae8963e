import numpy as np
import pytest
import torch

from sciml.linalg.poisson import PoissonOperator
from sciml.simulate.geometry import make_flags
from sciml.simulate.poisson_geometry import GeometrySampler
from sciml.simulate.sampler import sample_stream


@pytest.mark.parametrize("shape", [(24, 19), (12, 9, 10)])
def test_samples_are_consistent_right_hand_sides_with_their_flags(shape):
    sampler = GeometrySampler(shape, num_geometries=8)
    batch = sampler.draw(80021, range(6))
    assert batch.inputs.shape == (6, 2, *shape)
    assert sampler.spec.in_channels == 2
    assert [f.name for f in sampler.spec.in_fields] == ["residual", "flags"]
    torch.testing.assert_close(batch.static, batch.inputs[:, 1:], rtol=0, atol=0)
    for b, flags in batch.inputs:
        operator = PoissonOperator(flags.to(torch.uint8))
        assert float(b.norm()) == pytest.approx(1, rel=1e-5)
        torch.testing.assert_close(operator.project(b.double()), b.double(), rtol=0, atol=1e-7)


def test_a_sample_depends_on_seed_and_number_alone():
    sampler, again = (GeometrySampler((16, 16), num_geometries=5) for _ in range(2))
    whole = sampler.draw(80039, [3, 9, 4]).inputs
    torch.testing.assert_close(again.draw(80039, [9]).inputs[0], whole[1], rtol=0, atol=0)
    assert not torch.equal(again.draw(80051, [9]).inputs[0], whole[1])
    assert repr(sampler) == repr(again)


def test_geometries_come_from_a_pool_of_that_size():
    sampler = GeometrySampler((16, 16), num_geometries=4)
    flags = sampler.draw(80071, range(60)).inputs[:, 1]
    assert len(torch.unique(flags.flatten(1), dim=0)) == 4


def test_speckles_only_turn_fluid_solid():
    options = {"resolution": (40, 40), "kinds": ("random",), "num_geometries": 30}
    plain, speckled = (
        GeometrySampler(**options, largest_speckle=share) for share in (0.0, 0.3)
    )
    changed = []
    for number in range(30):
        before, after = plain._geometry(number)[0], speckled._geometry(number)[0]
        seed = int(sample_stream(60013, number).integers(2**31))
        np.testing.assert_array_equal(before, make_flags("random", (40, 40), seed=seed))
        assert (after[before != 2] == before[before != 2]).all()
        assert (after[before == 2] <= 2).all()
        changed.append(float((after != before).double().mean()))
    assert min(changed) < 0.005
    assert 0.1 < max(changed) <= 0.35


def test_options_out_of_range_are_refused():
    with pytest.raises(ValueError, match="GeometrySampler: expected at least one geometry"):
        GeometrySampler((8, 8), num_geometries=2)
    with pytest.raises(ValueError, match=r"expected largest_speckle in \[0, 1\), got 1.0"):
        GeometrySampler((8, 8), largest_speckle=1.0)

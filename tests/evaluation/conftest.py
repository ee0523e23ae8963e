import pytest

from sciml.evaluation.compare import Contestant, compare
from sciml.models.persistence import Persistence
from tests.evaluation.stand_ins import Decay, Halving, make_spec


@pytest.fixture(scope="session")
def comparison():
    spec = make_spec()
    contestants = [
        Contestant("persistence", Persistence.from_spec(spec), "trivial"),
        Contestant("halving", Halving(0.01), "surrogate", num_parameters=12_345),
        Contestant("exact", Halving(), "solver"),
    ]
    return compare(contestants, Decay(spec), Decay(spec, num_frames=1))

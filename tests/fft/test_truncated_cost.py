import pytest

from sciml.fft.truncated_cost import cheaper_backend, cheapest_form


@pytest.mark.parametrize(
    ("space", "kept", "form"),
    [
        ((30, 30), (15, 8), "plain"),
        ((32, 32), (15, 8), "fold_last"),
        ((128, 128), (32, 17), "fold_last"),
        ((256, 256), (32, 17), "fold_first"),
        ((255, 256), (32, 17), "fold_last"),
        ((1024,), (17,), "fold_last"),
        ((1023,), (17,), "plain"),
        ((1024,), (3,), "plain"),
        ((32, 32, 32), (16, 16, 9), "fold_last"),
        ((27, 30, 33), (16, 16, 9), "plain"),
    ],
)
def test_form_by_grid(space, kept, form):
    assert cheapest_form(space, kept) == form


@pytest.mark.parametrize(
    ("space", "kept", "backend"),
    [
        ((64,), (33,), "matrix"),
        ((1024,), (17,), "matrix"),
        ((1024,), (65,), "fft"),
        ((4096,), (129,), "fft"),
        ((1021,), (65,), "matrix"),  # a prime length
        ((128, 128), (48, 25), "fft"),
        ((85, 85), (48, 25), "matrix"),
        ((32, 32, 32), (16, 16, 9), "matrix"),
    ],
)
def test_back_end_by_grid_as_measured(space, kept, backend):
    assert cheaper_backend(space, kept) == backend


def test_folding_is_for_processors_with_caches_only():
    assert cheapest_form((256, 256), (32, 17), "cuda") == "plain"
    assert cheaper_backend((256, 256), (32, 17), "cuda") == "matrix"

"""Torch files: genuine ones, views of one storage, and what must never be executed."""

import io
import pickle
import zipfile

import numpy as np
import pytest
import torch

from sciml.data.sources.torch_file import read_torch
from tests.data.array_files import (
    damaged_copies,
    golden_file,
    open_files,
    read_coords,
    read_frames,
    read_targets,
)


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SCIML_CACHE", str(tmp_path / "cache"))


def open_genuine(*names):
    return open_files("torch", [golden_file(name) for name in names])


def test_genuine_darcy():
    source = open_genuine(
        "neuralop_darcy_train_16.pt", "neuralop_darcy_test_16.pt", "neuralop_darcy_test_32.pt"
    )
    assert source.splits == {"train": range(1000), "test": range(1000, 1050)}
    assert (source.spec.name, source.spec.resolution) == ("darcy", (16, 16))
    sums = {"train": (127858, 98896.797006), "test": (6298, 5100.886766)}
    for split, (x, y) in sums.items():
        span = source.splits[split]
        inputs = [read_frames(source, i).sum(dtype="f8") for i in span]
        outputs = [read_targets(source, i).sum(dtype="f8") for i in span]
        assert sum(inputs) == x
        assert abs(sum(outputs) - y) < 1e-5
    assert "left out: neuralop_darcy_test_32.pt (another resolution)" in source.describe()
    fine = open_genuine("neuralop_darcy_test_32.pt")
    for i in (0, 49):
        np.testing.assert_array_equal(
            read_frames(fine, i)[..., ::2, ::2], read_frames(source, 1000 + i)
        )
        np.testing.assert_array_equal(
            read_targets(fine, i)[..., ::2, ::2], read_targets(source, 1000 + i)
        )


def test_genuine_burgers_are_views_of_one_storage():
    source = open_genuine("neuralop_burgers_train_16.pt", "neuralop_burgers_test_16.pt")
    assert source.splits == {"train": range(800), "test": range(800, 1200)}
    assert source.spec.dt == 0.06
    assert source.spec.constants == {"viscosity": pytest.approx(0.01)}
    frames = np.stack([read_frames(source, i)[:, 0] for i in range(1200)]).astype("f8")
    assert abs(frames[:800].sum() - 0.110121) < 1e-4
    assert abs(frames[800:].sum() - 0.290827) < 1e-4
    assert abs(frames[800:].std(ddof=1) - 0.169331) < 1e-6
    assert abs(frames[800:, 0].sum() - 0.002147) < 1e-5


def advance_burgers(frame, time, viscosity, n=256, steps=200):
    """Solution of u_t + u u_x = viscosity u_xx: Heun on the flux, exact diffusion."""
    wavenumbers = 2j * np.pi * np.fft.rfftfreq(n, 1 / n)
    mask = np.arange(n // 2 + 1) < n / 3
    step = time / steps
    decay = np.exp(viscosity * wavenumbers**2 * step)

    def flux(spectrum):
        return -0.5 * wavenumbers * np.fft.rfft(np.fft.irfft(spectrum) ** 2) * mask

    coarse = np.fft.rfft(frame) * n / len(frame)
    coarse[-1] /= 2  # the Nyquist wave of the coarse grid is a pair on the fine one
    spectrum = np.zeros(n // 2 + 1, complex)
    spectrum[: len(coarse)] = coarse
    for _ in range(steps):
        first = flux(spectrum)
        second = flux(decay * (spectrum + step * first))
        spectrum = decay * (spectrum + 0.5 * step * first) + 0.5 * step * second
    return np.fft.irfft(spectrum)[:: n // len(frame)]


def test_genuine_burgers_solves_the_equation():
    source = open_genuine("neuralop_burgers_test_16.pt")
    for i in range(5):
        frames = read_frames(source, i)[:, 0].astype("f8")
        solution = advance_burgers(frames[0], source.spec.dt * 4, 0.01, steps=400)
        error = np.linalg.norm(solution - frames[4]) / np.linalg.norm(frames[4])
        assert error < 6e-4  # 1e-2 if a step were 1/16


def test_genuine_cars():
    source = open_genuine("neuralop_mini_car.pt")
    raw = torch.load(golden_file("neuralop_mini_car.pt"), weights_only=True)
    assert source.num_trajectories == 3
    assert (source.spec.name, source.spec.resolution) == ("car", (3586,))
    for i, car in enumerate(raw):
        np.testing.assert_array_equal(read_coords(source, i), car["vertices"].numpy())
        np.testing.assert_array_equal(read_targets(source, i), car["press"].numpy())


def test_genuine_advection():
    names = [
        f"pina_advection_{w}_{r}ing.pt" for w in ("input", "output") for r in ("train", "test")
    ]
    source = open_genuine(*names)
    assert source.splits == {"train": range(100), "test": range(100, 1100)}
    residuals = []
    for i in range(100):
        x, y = read_frames(source, i)[0, 0], read_targets(source, i)[0]
        residuals.append(np.linalg.norm(np.roll(x, 25) - y) / np.linalg.norm(y))
    assert np.mean(residuals) < 0.06


def test_genuine_poisson():
    source = open_genuine("pina_holed_poisson.pt")
    assert source.num_trajectories == 121
    assert (source.spec.resolution, source.spec.params) == ((1352,), ("mu_0", "mu_1"))
    x = sum(read_coords(source, i)[:, 0].sum(dtype="f8") for i in range(121))
    u = sum(read_targets(source, i).sum(dtype="f8") for i in range(121))
    assert abs(x - 81178.15) < 0.1
    assert abs(u - 18980.56) < 0.1


def test_tensors_are_views_of_the_file(tmp_path):
    base = torch.arange(24.0).reshape(4, 6)
    torch.save({"u": base[1:, ::2], "v": base.T}, tmp_path / "a.pt")
    (files,) = read_torch(tmp_path / "a.pt")
    np.testing.assert_array_equal(files.arrays["u"].values(), base[1:, ::2])
    np.testing.assert_array_equal(files.arrays["v"].values(), base.T)
    assert files.arrays["v"].disk_order == (1, 0)
    again = pickle.loads(pickle.dumps(files.arrays["u"]))
    np.testing.assert_array_equal(again.values(), base[1:, ::2])
    assert len(pickle.dumps(files.arrays["u"])) < 1000


def test_members_that_are_no_numbers_are_named(tmp_path):
    content = {
        "u": torch.ones(2, 2),
        "note": "text",
        "half": torch.ones(2, dtype=torch.bfloat16),
        "sparse": torch.ones(2, 2).to_sparse(),
        "parameter": torch.nn.Parameter(torch.ones(3)),
        7: torch.ones(1),
    }
    torch.save(content, tmp_path / "a.pt")
    (files,) = read_torch(tmp_path / "a.pt")
    assert list(files.arrays) == ["u", "parameter", "7"]
    assert files.refused["note"] == "str"
    assert files.refused["half"] == (
        "torch.bfloat16, which numpy does not know: save it as float32"
    )
    assert files.refused["sparse"] == "sparse, quantised or nested tensor"
    np.testing.assert_array_equal(files.arrays["7"].values(), [1])


def test_pickles_are_refused_with_the_remedy(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("executed",))

    for content in ({"u": Bomb()}, torch.nn.Linear(2, 2), {"u": np.ones(3)}):
        torch.save(content, tmp_path / "a.pt")
        with pytest.raises(ValueError, match=r"only tensors .*a\.pt.*save a dict of tensors"):
            read_torch(tmp_path / "a.pt")
    torch.save({"a", "b"}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match="expected"):
        read_torch(tmp_path / "a.pt")
    torch.save([torch.ones(2), 3], tmp_path / "a.pt")
    with pytest.raises(ValueError, match=r"a dict of tensors or a list .*a\.pt, got list"):
        read_torch(tmp_path / "a.pt")


def test_expanded_tensors_are_refused(tmp_path):
    torch.save({"u": torch.ones(1).expand(10**12)}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=r"at most 4 bytes of 'u' .* tensors that are not exp"):
        read_torch(tmp_path / "a.pt")


def rewrite(path, change, compression=zipfile.ZIP_STORED):
    """Write the archive again with its pickle changed."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, change(data) if name.endswith("data.pkl") else data)


ABSURD = {
    "shape": [(b"K\x03K\x0f\x86", b"J\xff\xff\xff\x7fK\x0f\x86")],
    "offset": [(b"QK\x00", b"QJ\x00\x00\x00\x70")],
    "strides": [(b"K\x0fK\x01\x86", b"J\x00\x00\x00\x70K\x01\x86")],
    "negative shape": [(b"K\x03K\x0f\x86", b"J\xff\xff\xff\xffK\x0f\x86")],
    "no strides": [
        (b"K\x03K\x0f\x86", b"J\xff\xff\xff\x7fK\x0f\x86"),
        (b"K\x0fK\x01\x86", b"K\x00K\x01\x86"),
    ],
}


@pytest.mark.parametrize("changes", ABSURD.values(), ids=ABSURD.keys())
def test_absurd_declared_sizes_are_refused(tmp_path, changes):
    path = tmp_path / "a.pt"
    torch.save({"u": torch.ones(3, 15)}, path)

    def change(data):
        for old, new in changes:
            assert data.count(old) == 1
            data = data.replace(old, new)
        return data

    rewrite(path, change)
    with pytest.raises(ValueError, match=r"open_source: expected .*a\.pt"):
        read_torch(path)


def test_compressed_members_are_refused(tmp_path):
    path = tmp_path / "a.pt"
    torch.save({"u": torch.zeros(10**6)}, path)
    rewrite(path, lambda data: data, zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match=r"uncompressed members .*a\.pt, got .* hostile"):
        read_torch(path)


def test_damaged_files_are_refused_or_read(tmp_path):
    path = tmp_path / "a.pt"
    buffer = io.BytesIO()
    torch.save({"u": torch.rand(3, 4, 4, 2), "t": torch.arange(2.0).expand(2)}, buffer)
    messages = []
    for data in damaged_copies(buffer.getvalue(), 300, 131071):
        path.write_bytes(data)
        try:
            for files in read_torch(path):
                for stored in files.arrays.values():
                    assert stored.values().shape == stored.shape
        except ValueError as error:
            messages.append(str(error))
    assert len(messages) > 50
    assert all(text.startswith("open_source: expected") for text in messages)

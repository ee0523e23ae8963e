"""Small files in PDEBench's layouts as its own scripts leave them, and what they hold."""

from pathlib import Path

import h5py
import numpy as np

from sciml.data.sources.joined import JoinedSource
from sciml.data.sources.pdebench import FORMAT

CONFIGS = {
    "diff-sorp": "name: 1d_diff-sorp\nsim:\n  t: 500\n  xdim: 16\n  seed: {seed}\n",
    "diff-react": (
        "data_dir: data\nname: 2d_diff-react\nsim:\n  Du: 0.001\n  Dv: 0.005\n  k: 0.005\n"
        "  t: 5\n  'n': 1\n  seed: {seed}\nplot:\n  t_idx: 1.0\n"
    ),
    "rdb": (
        "name: 2d_rdb\nsim:\n  T_end: 1.0\n  gravity: 1.0\n  dam_radius: {radius}\n"
        "  inner_height: 2.0\n  seed: {seed}\n"
    ),
}


def noise(*shape: int, seed: int = 2718281829) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype("f4")


def centres(low: float, high: float, n: int) -> np.ndarray:
    return (low + (np.arange(n) + 0.5) * (high - low) / n).astype("f4")


def write_coordinates(file, resolution, num_steps, *, low=0.0, high=1.0, dt=0.05):
    for axis, n in zip("xyz", resolution, strict=False):
        file[f"{axis}-coordinate"] = centres(low, high, n)
    if num_steps is not None:
        file["t-coordinate"] = (dt * np.arange(num_steps + 1)).astype("f4")


def write_scalar(
    path: Path,
    attributes,
    *,
    count: int = 4,
    num_steps: int = 5,
    num_points: int = 16,
    seed: int = 2718281829,
    **options,
) -> np.ndarray:
    """Advection, Burgers or reaction-diffusion; returns (n, t, 1, x)."""
    values = noise(count, num_steps, num_points, seed=seed)
    with h5py.File(path, "w") as file:
        file.create_dataset("tensor", data=values, **options)
        write_coordinates(file, (num_points,), num_steps)
        file.attrs.update(attributes)
    return values[:, :, None]


def write_flow(path: Path, resolution, *, count: int = 2, num_steps: int = 4, devices=False):
    """Compressible flow; returns (n, t, c, *space)."""
    names = ("density", "pressure", "Vx", "Vy", "Vz")[: 2 + len(resolution)]
    values = noise(count, num_steps, len(names), *resolution)
    with h5py.File(path, "w") as file:
        for channel, name in enumerate(names):
            array = values[:, :, channel]
            file[name] = array[None] if devices else array
        write_coordinates(file, resolution, num_steps, low=-1.0)
        file.attrs.update({"M": 0.1, "eta": 1e-8, "zeta": 0.01})
    return values


def write_darcy(path: Path, *, count: int = 3, resolution=(6, 5), beta: float = 0.1):
    """Darcy flow; returns coefficients and solutions (n, 1, x, y)."""
    coefficient, solution = noise(count, *resolution), noise(count, 1, *resolution, seed=31337)
    with h5py.File(path, "w") as file:
        file["nu"], file["tensor"] = coefficient, solution
        write_coordinates(file, resolution, None)
        file.attrs["beta"] = beta
    return coefficient[:, None], solution


def write_groups(
    path: Path,
    family: str,
    *,
    seeds=(0, 2, 7),
    num_steps: int = 5,
    resolution=(6, 4),
    config: bool = True,
    **options,
) -> np.ndarray:
    """Diffusion-sorption, diffusion-reaction or shallow water; returns (n, t, c, *space)."""
    resolution = resolution[:1] if family == "diff-sorp" else resolution
    channels = 2 if family == "diff-react" else 1
    values = noise(len(seeds), num_steps, channels, *resolution)
    with h5py.File(path, "w") as file:
        for place, seed in enumerate(seeds):
            data = np.moveaxis(values[place], 1, -1)
            if family == "diff-react":
                data = data.swapaxes(1, 2)
            group = file.create_group(f"{seed:04d}")
            group.create_dataset("data", data=np.ascontiguousarray(data), **options)
            for axis, n in zip("xy", resolution, strict=False):
                group[f"grid/{axis}"] = centres(-2.5, 2.5, n)
            group["grid/t"] = (0.25 * np.arange(num_steps)).astype("f4")
            if config:
                text = CONFIGS[family].format(seed=seed, radius=0.3 + 0.01 * seed)
                group.attrs["config"] = text
    return values


def write_incompressible(path: Path, *, count=2, num_steps=5, resolution=(6, 4), latest=None):
    """Incompressible flow; returns frames (n, t, c, x, y) and forces (n, c, x, y)."""
    velocity = noise(count, num_steps, *resolution, 2)
    particles = noise(count, num_steps, *resolution, 1, seed=161803399)
    force = noise(count, *resolution, 2, seed=141421357)
    with h5py.File(path, "w") as file:
        for name, values in (
            ("velocity", velocity),
            ("particles", particles),
            ("force", force),
        ):
            chunks = (1, 1, *values.shape[2:])
            file.create_dataset(
                name, data=values, chunks=chunks, compression="lzf", shuffle=True
            )
        times = np.tile(0.5 * np.arange(num_steps, dtype="f4"), (count, 1))
        file.create_dataset("t", data=times, chunks=(1, 1), compression="lzf")
        file.attrs["config"] = "sim_name: ns_incom_inhom_2d\nNU: 0.01\nseed: 3\nDT: 0.1\n"
        file.attrs["latestIndex"] = num_steps - 1 if latest is None else latest
    frames = np.concatenate([particles, velocity], axis=-1)
    return np.moveaxis(frames, -1, 2), np.moveaxis(force, -1, 1)


def open_files(*paths, back_end="auto"):
    return JoinedSource({"": FORMAT.open_files(list(map(Path, paths)), back_end)})


def read_all(source):
    spec = source.spec
    frames = []
    for i in range(source.num_trajectories):
        out = np.full(
            (source.num_steps(i), spec.frame_channels, *spec.resolution), np.nan, "f4"
        )
        source.read(i, 0, source.num_steps(i), 1, out)
        frames.append(out)
    return np.stack(frames)


def replace_array(key, values):
    def change(file):
        del file[key]
        file[key] = values

    return change


def set_attribute(name, value):
    def change(file):
        file.attrs[name] = value

    return change

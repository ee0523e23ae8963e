"""Surrogates on disk: ``surrogate.safetensors`` and ``surrogate.json``, never a pickle.

The JSON holds the class and constructor arguments of the network, the normalisation, the data
set's spec, and names, shapes and checksum of the tensors. The tensors are written first and the
JSON last, each under a temporary name that is then renamed, so that a JSON is always the second
half of a pair; a pair that does not belong together is found by the checksum.
"""

import difflib
import hashlib
import importlib
import inspect
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from sciml.data.normalizer import Normalizer
from sciml.data.writers.atomic import write_atomically
from sciml.nn.model import SurrogateModel
from sciml.spec import DatasetSpec
from sciml.training.normalized import NormalizedModel
from sciml.training.surrogate import Surrogate
from sciml.typing import StrPath

FORMAT = 1
STEM = "surrogate"


def save_surrogate(surrogate: Surrogate, folder: StrPath) -> Path:
    """Write a surrogate into a folder.

    Args:
        surrogate: What to save.
        folder: Folder to write to, made if missing.

    Returns:
        The path of the JSON file.

    Raises:
        OSError: If the folder cannot be written; an earlier pair is then not taken for this
            one.
        TypeError: If a constructor argument of the network is not a plain JSON value.
    """
    model = surrogate.model
    network = type(model.network)
    tensors = {name: _as_real(value) for name, value in model.state_dict().items()}
    described: dict[str, Any] = {
        "format": FORMAT,
        "class": f"{network.__module__}.{network.__qualname__}",
        "arguments": model.network.arguments,
        "normalization": {
            "inputs": _describe_normalizer(model.inputs),
            "outputs": _describe_normalizer(model.outputs),
            "increment": model.increment,
        },
        "spec": surrogate.spec.to_dict(),
        "tensors": {
            name: {"shape": list(value.shape), "dtype": str(value.dtype).removeprefix("torch.")}
            for name, value in model.state_dict().items()
        },
    }
    try:
        json.dumps(described)
    except TypeError as error:
        raise TypeError(
            f"save_surrogate: expected plain JSON values as arguments of {network.__name__}, "
            f"got {model.network.arguments} ({error}); give the constructor numbers, text and "
            "lists"
        ) from None
    target = Path(folder) / f"{STEM}.safetensors"
    write_atomically(target, lambda path: _save_tensors(tensors, path))
    described["sha256"] = _checksum(target)
    written = Path(folder) / f"{STEM}.json"
    text = json.dumps(described, indent=2) + "\n"
    write_atomically(written, lambda path: path.write_text(text))
    return written


def load(
    run_or_file: StrPath,
    *,
    device: torch.device | str = "cpu",
    trusted_modules: Sequence[str] = (),
) -> Surrogate:
    """Read a surrogate back; neither data set nor configuration is needed.

    Args:
        run_or_file: Run folder, or either of the two files in it.
        device: Where to put the model.
        trusted_modules: Modules or packages besides `sciml` whose classes may be built. A file
            names a class to import, so only what is listed here is.

    Raises:
        FileNotFoundError: If there is no such path or one of the two files is missing.
        ValueError: If a file was cut, swapped or written by something else, or the tensors do
            not fit the class that the file names.
    """
    written, stored = _locate(Path(run_or_file))
    described = _read_description(written)
    if not stored.is_file():
        raise FileNotFoundError(
            f"load: expected {stored.name} beside {written}, found none; copy both files of a "
            "surrogate"
        )
    if _checksum(stored) != described["sha256"]:
        raise ValueError(
            f"load: {stored} is not the file that {written.name} describes (its checksum "
            "differs): it was cut or swapped; copy both files again or train anew"
        )
    network = _build(described, trusted_modules, written)
    normalization = described["normalization"]
    model = NormalizedModel(
        network,
        Normalizer(**normalization["inputs"]),
        Normalizer(**normalization["outputs"]),
        increment=normalization["increment"],
        spec=DatasetSpec.from_dict(described["spec"]),
    )
    _fill(model, load_file(stored), described["tensors"], written)
    return Surrogate(model.to(device))


def _save_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    """The library reports a full disk or a missing permission by an error of its own."""
    try:
        save_file(tensors, path)
    except SafetensorError as error:
        raise OSError(str(error)) from error


def nearest_path(path: Path) -> str:
    """Remedy for a path that does not exist: similar names in the nearest existing folder."""
    parent = path.parent
    while not parent.is_dir() and parent != parent.parent:
        path, parent = parent, parent.parent
    names = sorted(entry.name for entry in parent.iterdir()) if parent.is_dir() else []
    similar = difflib.get_close_matches(path.name, names, n=3, cutoff=0.4)
    found = ", ".join(str(parent / name) for name in similar)
    return (
        f"nearest names: {found}"
        if found
        else f"{parent} holds {', '.join(names[:8]) or 'nothing'}"
    )


def _as_real(value: Tensor) -> Tensor:
    """A private contiguous copy; complex tensors as pairs, which every reader understands."""
    value = value.detach().cpu().resolve_conj()
    return (torch.view_as_real(value) if value.is_complex() else value).clone(
        memory_format=torch.contiguous_format
    )


def _describe_normalizer(normalizer: Normalizer) -> dict[str, Any]:
    return {
        "num_channels": normalizer.num_channels,
        "kind": normalizer.kind,
        "space": list(normalizer.space),
    }


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _locate(path: Path) -> tuple[Path, Path]:
    if not path.exists():
        raise FileNotFoundError(f"load: there is no {path}; {nearest_path(path)}")
    stem = path / STEM if path.is_dir() else path.with_suffix("")
    if not path.is_dir() and path.suffix not in (".json", ".safetensors"):
        raise ValueError(
            f"load: expected a run folder, .json or .safetensors, got {path}; a .ckpt file "
            "holds a training state: continue it with resume, or load the run folder"
        )
    written = stem.with_name(stem.name + ".json")
    if not written.is_file():
        raise FileNotFoundError(
            f"load: expected {written.name} in {written.parent}, found none; without it the "
            "tensors cannot be interpreted: give a run folder that finished, or copy both files"
        )
    return written, stem.with_name(stem.name + ".safetensors")


def _read_description(path: Path) -> dict[str, Any]:
    keys = {"format", "class", "arguments", "normalization", "spec", "tensors", "sha256"}
    try:
        described = json.loads(path.read_text())
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(
            f"load: {path} is not a complete JSON file ({error}); it was cut: copy it again"
        ) from None
    if not isinstance(described, dict) or not keys <= described.keys():
        missing = sorted(keys - set(described))
        raise ValueError(
            f"load: {path} does not describe a surrogate, it lacks {missing}; "
            "give the file that save_surrogate wrote"
        )
    if described["format"] != FORMAT:
        raise ValueError(
            f"load: {path} has format {described['format']}, this version reads format "
            f"{FORMAT}; load it with the version of sciml that wrote it"
        )
    return described


def _build(
    described: Mapping[str, Any], trusted_modules: Sequence[str], path: Path
) -> SurrogateModel:
    module_name, _, class_name = str(described["class"]).rpartition(".")
    trusted = ("sciml", *trusted_modules)
    if not any(module_name == name or module_name.startswith(f"{name}.") for name in trusted):
        raise ValueError(
            f"load: {path} asks for class {described['class']}, which is outside {trusted}; if "
            f"you trust it, pass trusted_modules=({module_name!r},)"
        )
    try:
        network = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError) as error:
        raise ValueError(
            f"load: {path} asks for class {described['class']}, which cannot be imported "
            f"({error}); install what defines it"
        ) from error
    if not (isinstance(network, type) and issubclass(network, SurrogateModel)):
        raise ValueError(
            f"load: {path} asks for {described['class']}, which is not a SurrogateModel; "
            "the file was not written by save_surrogate"
        )
    arguments = dict(described["arguments"])
    for name, parameter in inspect.signature(network.__init__).parameters.items():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            arguments |= arguments.pop(name, {})
    return network(**arguments)


def _fill(
    model: NormalizedModel,
    tensors: Mapping[str, Tensor],
    described: Mapping[str, Mapping[str, Any]],
    path: Path,
) -> None:
    """Put tensors into the model, in their own dtype; names and shapes must agree."""
    state = {
        name: torch.view_as_complex(value) if "complex" in described[name]["dtype"] else value
        for name, value in tensors.items()
    }
    check_state(model.state_dict(), state, f"load: {path}")
    model.load_state_dict(state, assign=True)


def check_state(
    expected: Mapping[str, Tensor], found: Mapping[str, Tensor], where: str
) -> None:
    """Compare names and shapes of stored tensors with those of a model.

    Raises:
        ValueError: Naming the first tensors that differ.
    """
    problems = [f"{name} is missing" for name in expected if name not in found]
    problems += [f"{name} is unknown" for name in found if name not in expected]
    problems += [
        f"{name} has shape {tuple(found[name].shape)}, the model {tuple(value.shape)}"
        for name, value in expected.items()
        if name in found and found[name].shape != value.shape
    ]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise ValueError(
            f"{where} holds another model than this one: {'; '.join(problems[:3])}{more}; "
            "use the model and channels that it was trained with"
        )

"""The neuraloperator library's models (FNO, TFNO, UNO, …) behind our interface, as baselines.

The library is imported when a model is built, since its import costs seconds.
"""

import contextlib
import difflib
import inspect
import io
from collections.abc import Mapping
from typing import Any, final

from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from sciml.nn.model import SurrogateModel
from sciml.spec import DatasetSpec


@final
class NeuralOperator(SurrogateModel):
    """A model of ``neuralop.models``, built from its own options; shapes are already ours.

    Args:
        in_channels: Channels c_in of the input.
        out_channels: Channels c_out of the output.
        architecture: Class name in ``neuralop.models`` whose forward takes one field on a grid:
            FNO (Li et al. 2021, arXiv:2010.08895), TFNO (Kossaifi et al. 2023,
            arXiv:2310.00120), UNO (Rahman et al. 2023, arXiv:2204.11127).
        options: The class's other arguments by their names there, e.g.
            ``{"n_modes": [16, 16], "hidden_channels": 32}``. They say the number of spatial
            axes.

    Raises:
        ValueError: If there is no such architecture or option (naming the nearest), or the
        library
            refuses the options.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        architecture: str = "FNO",
        options: Mapping[str, Any] | None = None,
    ) -> None:
        chosen = dict(options or {})
        super().__init__(in_channels, out_channels, _num_axes(chosen))
        model_class = _model_class(architecture)
        _check_options(architecture, model_class, chosen)
        try:
            # UNO prints its skip connections when it is built.
            with contextlib.redirect_stdout(io.StringIO()):
                self.network: nn.Module = model_class(
                    in_channels=in_channels, out_channels=out_channels, **chosen
                )
        except (TypeError, ValueError, AssertionError, KeyError) as error:
            raise ValueError(
                f"NeuralOperator: expected options that {architecture} accepts, got {chosen}; "
                f"the library says: {error}"
            ) from error
        self.register_state_dict_post_hook(_drop_metadata)  # type: ignore[no-untyped-call]  # torch

    @classmethod
    @override
    def from_spec(
        cls,
        spec: DatasetSpec,
        *,
        architecture: str = "FNO",
        options: Mapping[str, Any] | None = None,
    ) -> "NeuralOperator":
        """Build it for a data set's channels and axes.

        A single number of modes stands for every axis.

        Raises:
            ValueError: If the options are made for another number of spatial axes.
        """
        options = dict(options or {})
        if isinstance(options.get("n_modes"), int):
            options["n_modes"] = [options["n_modes"]] * spec.ndim
        model = cls(spec.in_channels, spec.out_channels, architecture, options)
        if model.ndim is not None and model.ndim != spec.ndim:
            raise ValueError(
                f"NeuralOperator: expected modes for the {spec.ndim} axes {spec.axes} of "
                f"{spec.name!r}, got modes for {model.ndim}; give one number of modes per axis"
            )
        return model

    @override
    def forward(
        self,
        u: Float[Tensor, "b c_in *space"],
        *,
        params: Float[Tensor, "b p"] | None = None,
        coords: Float[Tensor, "b n d"] | None = None,
    ) -> Float[Tensor, "b c_out *space"]:
        """Apply the library's model."""
        self.check_input(u, params, coords)
        output: Tensor = self.network(u)
        return output


def _drop_metadata(_: nn.Module, state: dict[str, Any], *__: Any) -> None:
    """Keep tensors only: the library adds its constructor arguments, classes among them.

    They would not go into a safetensors file, nor load with ``weights_only=True``, and our own
    record of the arguments makes them redundant.
    """
    state.pop("_metadata", None)


def _num_axes(options: Mapping[str, Any]) -> int | None:
    """Spatial axes from the modes: one entry per axis, in UNO one such list per layer."""
    modes = options.get("n_modes", options.get("uno_n_modes"))
    while isinstance(modes, list | tuple) and modes and isinstance(modes[0], list | tuple):
        modes = modes[0]
    return len(modes) if isinstance(modes, list | tuple) else None


def _model_class(architecture: str) -> type[nn.Module]:
    """The library's class of that name, among those that map one field on a grid to another."""
    from neuralop import models

    classes = {
        name: value
        for name, value in vars(models).items()
        if inspect.isclass(value) and issubclass(value, nn.Module) and _takes_one_field(value)
    }
    if architecture not in classes:
        nearest = difflib.get_close_matches(architecture.upper(), classes, n=1, cutoff=0.3)
        suggestion = f"did you mean {nearest[0]!r}? " if nearest else ""
        raise ValueError(
            f"NeuralOperator: expected an architecture of neuralop.models, "
            f"got {architecture!r}; {suggestion}Valid: {', '.join(sorted(classes))}"
        )
    return classes[architecture]


def _takes_one_field(model_class: type[nn.Module]) -> bool:
    """Whether forward has one argument without default, the field."""
    arguments = list(inspect.signature(model_class.forward).parameters.values())[1:]
    required = [
        a
        for a in arguments
        if a.default is inspect.Parameter.empty
        and a.kind not in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    ]
    return len(required) == 1


def _check_options(
    architecture: str, model_class: type[nn.Module], options: Mapping[str, Any]
) -> None:
    """Refuse options that no constructor of the class knows, in words."""
    own_classes = model_class.__mro__[: model_class.__mro__.index(nn.Module)]
    known: set[str] = set()
    for constructor in (vars(c)["__init__"] for c in own_classes if "__init__" in vars(c)):
        known |= set(inspect.signature(constructor).parameters)
    known -= {"self", "args", "kwargs", "in_channels", "out_channels"}
    for option in options:
        if option not in known:
            nearest = difflib.get_close_matches(option, known, n=1)
            suggestion = f"did you mean {nearest[0]!r}? " if nearest else ""
            raise ValueError(
                f"NeuralOperator: expected options of {architecture}, got {option!r}; "
                f"{suggestion}Valid: {', '.join(sorted(known))}"
            )

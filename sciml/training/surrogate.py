"""The fitted model as its user sees it: physical units, no data set and no configuration."""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, final

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from sciml.data.writers.atomic import write_atomically
from sciml.spec import DatasetSpec
from sciml.training.normalized import NormalizedModel
from sciml.typing import StrPath

if TYPE_CHECKING:
    from torch.export import ExportedProgram


@final
class Surrogate:
    """A fitted model: ``surrogate(u)`` is the next frame, `rollout` a whole trajectory.

    Inference runs without gradients and in evaluation mode; train through ``surrogate.model``.

    Args:
        model: Network with its normalisers.
    """

    def __init__(self, model: NormalizedModel) -> None:
        self.model = model.eval()

    @property
    def spec(self) -> DatasetSpec:
        """Self-description of the data set that the surrogate was fitted to."""
        return self.model.spec

    @property
    def accepts_params(self) -> bool:
        """Whether the model uses PDE parameters."""
        return self.model.accepts_params

    @property
    def num_parameters(self) -> int:
        """Trainable real numbers; a complex weight counts twice."""
        return sum(
            p.numel() * (2 if p.is_complex() else 1) for p in self.model.network.parameters()
        )

    @override
    def __repr__(self) -> str:
        return (
            f"Surrogate({type(self.model.network).__name__}, {self.spec.name!r}, "
            f"{self.num_parameters} parameters)"
        )

    def __call__(
        self,
        u: Float[Tensor, "b c_in *space"],
        params: Float[Tensor, "b p"] | None = None,
    ) -> Float[Tensor, "b c_out *space"]:
        """Apply the model once.

        Args:
            u: History frames flattened into channels, oldest first, in physical units.
            params: PDE parameters, for a model that uses them.

        Raises:
            ValueError: On wrong channels, number of axes, grid, or unusable parameters.
            TypeError: On a dtype or device other than the model's.
        """
        with torch.no_grad():
            return cast(Tensor, self.model.eval()(u, params=params))

    def rollout(
        self,
        u: Float[Tensor, "b c_in *space"],
        num_steps: int,
        params: Float[Tensor, "b p"] | None = None,
    ) -> Float[Tensor, "b t c *space"]:
        """Predict `num_steps` frames autoregressively, without the initial ones.

        Raises:
            ValueError: If the outputs cannot be fed back, and as calling the surrogate does.
            TypeError: On a dtype or device other than the model's.
        """
        with torch.no_grad():
            return self.model.eval().rollout(u, num_steps, params=params)

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> "Surrogate":
        """Move or convert the model in place; returns the surrogate itself.

        Complex weights become the complex type of the same precision.
        """
        self.model.to(device=device)
        if dtype is not None:
            for tensor in (*self.model.parameters(), *self.model.buffers()):
                if tensor.is_complex() or tensor.is_floating_point():
                    tensor.data = tensor.data.to(
                        dtype.to_complex() if tensor.is_complex() else dtype
                    )
        return self

    def save(self, folder: StrPath) -> Path:
        """Write ``surrogate.safetensors`` and ``surrogate.json``, which `sciml.load` reads."""
        # The loader in that module builds surrogates, so it imports this one.
        from sciml.training.checkpoint import save_surrogate

        return save_surrogate(self, folder)

    def export(self, path: StrPath, *, batch_size: int = 2) -> Path:
        """Write one step as a ``torch.export`` program that needs no `sciml` to run.

        The program takes any batch size where the network allows that, else `batch_size`; the
        grid is the data set's. Reload with ``torch.export.load(path).module()``.

        Args:
            path: File to write, usually ending in ``.pt2``.
            batch_size: Samples of the example that is traced.

        Raises:
            OSError: If the file cannot be written.
        """
        target, buffer = Path(path), io.BytesIO()
        torch.export.save(self._program(batch_size), buffer)
        write_atomically(target, lambda partial: partial.write_bytes(buffer.getvalue()))
        return target

    def _program(self, batch_size: int) -> "ExportedProgram":
        reference = next(self.model.parameters(), None)
        options: dict[str, Any] = (
            {} if reference is None else {"dtype": reference.dtype, "device": reference.device}
        )
        shape = (batch_size, self.spec.in_channels, *self.spec.resolution)
        arguments = (torch.zeros(shape, **options),)
        keywords = {}
        dynamic: dict[str, dict[int, torch.export.Dim]] = {"u": {0: torch.export.Dim("batch")}}
        if self.model.accepts_params and self.spec.params:
            keywords["params"] = torch.ones(batch_size, len(self.spec.params), **options)
            dynamic["params"] = dynamic["u"]
        with torch.no_grad():
            try:
                return torch.export.export(
                    self.model.eval(), arguments, keywords, dynamic_shapes=dynamic
                )
            except torch._dynamo.exc.UserError:
                # a network may tie its batch size to other sizes; a fixed batch is then exact
                return torch.export.export(self.model.eval(), arguments, keywords)

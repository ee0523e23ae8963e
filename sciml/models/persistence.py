"""Persistence: the forecast that nothing changes, which every surrogate has to beat."""

from typing import final

from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from sciml.nn.model import SurrogateModel
from sciml.spec import DatasetSpec


@final
class Persistence(SurrogateModel):
    r"""The next frame is the last one, :math:`u(t + \Delta t) = u(t)`; it has no parameters.

    It is a model (for ``model=persistence``) and a forecaster of its own (`rollout`), in
    physical units both times.

    Args:
        in_channels: Channels c_in of the input: a history of whole frames, oldest first.
        out_channels: Channels c_out of one frame.
        ndim: Number of spatial axes; None for any.

    Raises:
        ValueError: If the input does not hold a whole number of frames.
    """

    def __init__(self, in_channels: int, out_channels: int, ndim: int | None = None) -> None:
        super().__init__(in_channels, out_channels, ndim)
        if out_channels < 1 or in_channels < out_channels or in_channels % out_channels:
            raise ValueError(
                "Persistence: expected in_channels to be a positive multiple of out_channels, "
                f"got in_channels={in_channels}, out_channels={out_channels}; use history "
                "times the channels of one frame"
            )

    @classmethod
    @override
    def from_spec(cls, spec: DatasetSpec) -> "Persistence":
        """Build it for a data set of trajectories.

        Raises:
            ValueError: If the outputs are not the next frame of the inputs.
        """
        if not spec.autoregressive:
            raise ValueError(
                "Persistence: expected a data set of trajectories whose outputs are the "
                f"fields of its inputs, got {spec.name!r} with inputs "
                f"{[f.name for f in spec.in_fields]}, outputs "
                f"{[f.name for f in spec.out_fields]} and dt={spec.dt}; "
                "a map between different fields has no last frame, choose another baseline"
            )
        return cls(spec.in_channels, spec.out_channels, spec.ndim)

    @override
    def forward(
        self,
        u: Float[Tensor, "b c_in *space"],
        *,
        params: Float[Tensor, "b p"] | None = None,
        coords: Float[Tensor, "b n d"] | None = None,
    ) -> Float[Tensor, "b c_out *space"]:
        """The last frame of the history; parameters cannot matter to it and are accepted."""
        self.check_input(u, None, coords)
        return u[:, self.in_channels - self.out_channels :]

    def rollout(
        self,
        u: Float[Tensor, "b c_in *space"],
        num_steps: int,
        *,
        params: Float[Tensor, "b p"] | None = None,
    ) -> Float[Tensor, "b t c_out *space"]:
        """The last frame, `num_steps` times over (a view without copies).

        Raises:
            ValueError: If `num_steps` is not positive.
        """
        if num_steps < 1:
            raise ValueError(
                f"Persistence.rollout: expected at least one step, got {num_steps}; "
                "ask for more"
            )
        frame = self.forward(u, params=params).unsqueeze(1)
        return frame.expand(-1, num_steps, *frame.shape[2:])

"""Trigonometric series of latent tokens, evaluated without a tensor of basis functions.

`f(z) = sum_{m=1..M-1} a_m sin(m θ) + sum_{m=0..M-1} b_m cos(m θ)`, `θ = step · z`, with one set
of coefficients per channel. The plain form keeps 2M values per token for the backward pass;
Clenshaw's recurrence needs two, `cos θ` and `sin θ`.

Source: C. W. Clenshaw, A note on the summation of Chebyshev series (1955). Wu et al., Solving
High-Dimensional PDEs with Latent Spectral Models (ICML 2023, arXiv 2301.12664), the series of
the neural spectral block.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable
from typing_extensions import override


def trigonometric_series(
    z: Float[Tensor, "*batch c"],
    sine: Float[Tensor, "c m1"],
    cosine: Float[Tensor, "c m"],
    step: float,
) -> Float[Tensor, "*batch c"]:
    """Evaluate `sum_m a_m sin(m step z) + sum_m b_m cos(m step z)` element by element.

    Half-precision input is evaluated in float32, because the rounding error of the recurrence
    grows with the square of the number of terms. First derivatives only.

    Args:
        z: Argument; channels last.
        sine: Coefficients a_1 … a_{M-1}.
        cosine: Coefficients b_0 … b_{M-1}.
        step: Angular frequency of the first harmonic.

    Returns:
        The series, in the dtype of `z`.

    Raises:
        ValueError: If the numbers of sine and cosine coefficients do not fit together.
    """
    if cosine.shape[-1] != sine.shape[-1] + 1:
        raise ValueError(
            f"trigonometric_series: expected one cosine coefficient more than sine "
            f"coefficients, got "
            f"{sine.shape[-1]} sines and {cosine.shape[-1]} cosines; the constant is a cosine"
        )
    exact = torch.promote_types(z.dtype, torch.float32)
    # Index 0 of the first axis is the sine series, index 1 the cosine series: one recurrence
    # for both.
    constant = torch.zeros_like(cosine[:, :1])
    coefficients = torch.stack([torch.cat([constant, sine], dim=1), cosine]).to(exact)
    rows = z.reshape(-1, z.shape[-1]).to(exact)
    if torch.compiler.is_compiling():  # plain operations for torch.export
        orders = torch.arange(cosine.shape[-1], dtype=exact, device=z.device)
        phase = rows[..., None] * (step * orders)
        plain = (phase.sin() * coefficients[0] + phase.cos() * coefficients[1]).sum(-1)
        return plain.view(z.shape).to(z.dtype)
    result: Tensor = _ClenshawSeries.apply(rows, coefficients, step)  # type: ignore[no-untyped-call]  # torch
    return result.view(z.shape).to(z.dtype)


class _ClenshawSeries(torch.autograd.Function):
    """Clenshaw's backward recurrence forward, the angle-addition recurrence backward.

    `z` is (rows, channels), `coefficients` (2, channels, M) for sines and cosines.
    """

    @staticmethod
    @override
    def forward(ctx: Any, z: Tensor, coefficients: Tensor, step: float) -> Tensor:
        theta = z * step
        cosine, sine = theta.cos(), theta.sin()
        ctx.save_for_backward(cosine, sine, coefficients)
        ctx.step = step
        columns = coefficients.unsqueeze(1).unbind(-1)
        if len(columns) == 1:
            return columns[0][1].expand_as(z).clone()
        twice = 2 * cosine
        after = z.new_zeros(2, *z.shape)
        current = columns[-1].expand_as(after).clone()
        for column in columns[-2:0:-1]:
            torch.sub(column, after, out=after).addcmul_(twice, current)
            current, after = after, current
        # Sines end with y_1 sin θ, cosines with b_0 + x_1 cos θ − x_2.
        result = (columns[0][1] - after[1]).addcmul_(current[1], cosine)
        return result.addcmul_(current[0], sine)

    @staticmethod
    @override
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        cosine, sine, coefficients = ctx.saved_tensors
        num_terms = coefficients.shape[-1]
        # g sin(mθ) and g cos(mθ) for m = 0 and m = 1, then by angle addition.
        before = torch.stack([torch.zeros_like(gradient), gradient])
        current = torch.stack([gradient * sine, gradient * cosine])
        twice = 2 * cosine
        # d/dz [a sin(mθ) + b cos(mθ)] = m step [a cos(mθ) − b sin(mθ)].
        orders = torch.arange(num_terms, dtype=cosine.dtype, device=cosine.device) * ctx.step
        slopes = torch.stack([-coefficients[1], coefficients[0]]) * orders
        grad_z = torch.zeros_like(gradient)
        sums = [before.sum(1)]
        for m in range(1, num_terms):
            sums.append(current.sum(1))
            grad_z.addcmul_(current[0], slopes[0, :, m]).addcmul_(current[1], slopes[1, :, m])
            if m + 1 < num_terms:
                before.neg_().addcmul_(current, twice)
                current, before = before, current
        return grad_z, torch.stack(sums, dim=-1), None

"""The adapters are kernels of gpytorch: an ExactGP trains with them."""

import math
import subprocess
import sys

import gpytorch
import pytest
import torch

from sciml.models.gp_hm.gpytorch_kernels import GaussianMixtureKernel, StudentTMixtureKernel
from sciml.models.gp_hm.kernels import STM

KERNELS = [StudentTMixtureKernel, GaussianMixtureKernel]


class Regression(gpytorch.models.ExactGP):
    def __init__(self, inputs, targets, likelihood, kernel):
        super().__init__(inputs, targets, likelihood)
        self.mean_module = gpytorch.means.ZeroMean()
        self.covar_module = kernel

    def forward(self, inputs):
        return gpytorch.distributions.MultivariateNormal(
            self.mean_module(inputs), self.covar_module(inputs)
        )


@pytest.mark.parametrize("kernel_class", KERNELS)
def test_exact_gp_learns_an_oscillation(kernel_class):
    inputs = torch.linspace(0, 1, 40, dtype=torch.float64)[:, None]
    targets = torch.sin(2 * math.pi * 4.3 * inputs[:, 0])
    kernel = kernel_class(5, frequency_scale=8.0).double()
    likelihood = gpytorch.likelihoods.GaussianLikelihood().double()
    model = Regression(inputs, targets, likelihood, kernel)
    evidence = gpytorch.mlls.ExactMarginalLogLikelihood(likelihood, model)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    model.train()
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = -evidence(model(inputs), targets)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] - 0.5
    for name, parameter in kernel.named_parameters():
        assert bool(parameter.grad.isfinite().all()), name
        assert bool(parameter.grad.any()), name
    model.eval()
    points = torch.tensor([[0.113], [0.487]], dtype=torch.float64)
    with torch.no_grad():
        mean = model(points).mean
    truth = torch.sin(2 * math.pi * 4.3 * points[:, 0])
    torch.testing.assert_close(mean, truth, atol=0.15, rtol=0)


def test_gaussian_mixture_equals_the_spectral_mixture_kernel():
    """a = 2 π² v², weights and means as they are."""
    ours = GaussianMixtureKernel(3).double()
    theirs = gpytorch.kernels.SpectralMixtureKernel(num_mixtures=3, ard_num_dims=1).double()
    weights = torch.tensor([0.3, 1.1, 0.7], dtype=torch.float64)
    means = torch.tensor([0.4, 1.9, 3.3], dtype=torch.float64)
    scales = torch.tensor([0.2, 0.5, 1.4], dtype=torch.float64)
    theirs.mixture_weights = weights
    theirs.mixture_means = means.reshape(3, 1, 1)
    theirs.mixture_scales = scales.reshape(3, 1, 1)
    with torch.no_grad():
        ours.log_weights.copy_(weights.log()[None])
        ours.log_scales.copy_((2 * math.pi**2 * scales**2).log()[None])
        ours.frequencies.copy_(means[None])
        first, second = (
            torch.rand(n, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(n))
            for n in (7, 5)
        )
        torch.testing.assert_close(
            ours(first, second).to_dense(), theirs(first, second).to_dense()
        )


def test_dimensions_multiply_and_the_diagonal_agrees():
    kernel = StudentTMixtureKernel(4, num_dims=2, frequency_scale=3.0).double()
    inputs = torch.rand(
        6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(5_077)
    )
    with torch.no_grad():
        kernel.log_scales[1] += 0.7
        matrix = kernel(inputs).to_dense()
        lags = inputs[:, None] - inputs[None]
        factors = [
            STM.derivatives(kernel.parameters_of(k), lags[..., k], [0])[0] for k in (0, 1)
        ]
        torch.testing.assert_close(matrix, factors[0] * factors[1])
        torch.testing.assert_close(kernel(inputs, diag=True), matrix.diagonal())
        assert float(torch.linalg.eigvalsh(matrix)[0]) > 0


def test_kernels_compose_batch_and_cast():
    inputs = torch.rand(3, 5, 1, generator=torch.Generator().manual_seed(907))
    kernel = gpytorch.kernels.ScaleKernel(StudentTMixtureKernel(2))
    total = kernel + gpytorch.kernels.RBFKernel()
    matrix = total(inputs).to_dense()
    assert matrix.shape == (3, 5, 5)
    assert matrix.dtype == torch.float32


def test_errors_say_what_to_do():
    with pytest.raises(ValueError, match="expected at least one mixture and one dimension"):
        GaussianMixtureKernel(0)
    kernel = GaussianMixtureKernel(2, num_dims=2)
    with pytest.raises(
        ValueError, match="expected inputs of 2 dimensions, got 3; pass num_dims=3"
    ):
        kernel.forward(torch.zeros(4, 3), torch.zeros(4, 3))
    with pytest.raises(ValueError, match="expected last_dim_is_batch=False, got True"):
        kernel.forward(torch.zeros(4, 2), torch.zeros(4, 2), last_dim_is_batch=True)


def test_the_solver_does_not_import_gpytorch():
    code = (
        "import sys, sciml.models.gp_hm, sciml.models.gp_hm.adam, sciml.models.gp_hm.evidence;"
        "sys.exit('gpytorch' in sys.modules or 'linear_operator' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

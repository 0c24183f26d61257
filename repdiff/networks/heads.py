"""Output heads: how raw network outputs become the prediction that the diffusion objective asks for."""

from abc import ABC, abstractmethod

from jaxtyping import Float
from torch import Tensor, nn


class OutputHead(nn.Module, ABC):
    """Turns raw network outputs into a prediction, and may add a loss of its own.

    Attributes:
        n_features: Length of the vectors.
        n_outputs: Raw outputs that the head wants from the network, at least `n_features`.
    """

    n_features: int
    n_outputs: int

    @abstractmethod
    def predict(
        self,
        raw: Float[Tensor, "n n_outputs"],
        noisy: Float[Tensor, "n n_features"],
        signal: Float[Tensor, "n 1"],
    ) -> Float[Tensor, "n n_features"]:
        """Return the objective's quantity: noise, clean vector or v.

        Args:
            raw: What the network answered.
            noisy: What it was shown, noisy = sqrt(signal) clean + sqrt(1 - signal) noise.
            signal: ᾱ at the time of each vector.
        """

    @abstractmethod
    def auxiliary_loss(
        self,
        raw: Float[Tensor, "n n_outputs"],
        clean: Float[Tensor, "n n_features"],
        signal: Float[Tensor, "n 1"],
    ) -> Float[Tensor, ""]:
        """Return what is added to the squared-error loss; `clean` is in [-1, 1]."""


class IdentityHead(OutputHead):
    """The raw outputs are the prediction."""

    def __init__(self, n_features: int) -> None:
        super().__init__()
        self.n_features = self.n_outputs = n_features

    def predict(
        self,
        raw: Float[Tensor, "n n_outputs"],
        noisy: Float[Tensor, "n n_features"],
        signal: Float[Tensor, "n 1"],
    ) -> Float[Tensor, "n n_features"]:
        """Return the raw outputs."""
        return raw

    def auxiliary_loss(
        self,
        raw: Float[Tensor, "n n_outputs"],
        clean: Float[Tensor, "n n_features"],
        signal: Float[Tensor, "n 1"],
    ) -> Float[Tensor, ""]:
        """Return zero."""
        return raw.new_zeros(())

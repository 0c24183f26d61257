"""Autoregressive model of compositions: a number of atoms, then one element with its count after the other."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from repdiff.errors import UserError
from repdiff.networks.element_table import ElementTable
from repdiff.networks.random_streams import choose, uniform_streams
from repdiff.networks.temperature import positive_temperatures

CRYSTALS_AT_ONCE = 4096
OF_EARLIER_FITS = frozenset(
    {
        "max_epochs", "min_steps", "batch_size", "learning_rate", "warmup_steps", "weight_decay", "clip_norm",
        "ema_decay", "held_out",
    }
)  # fmt: skip


class CompositionModelSettings(BaseModel):
    """Size of the composition model."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    width: int = Field(256, ge=1, description="channels of the residual stream")
    n_blocks: int = Field(2, ge=0, description="residual blocks, two linear layers each")
    dropout: float = Field(0.2, ge=0, lt=1, description="dropout probability inside the blocks")

    @model_validator(mode="before")
    @classmethod
    def _leave_out_the_fit(cls, values: Any) -> Any:  # noqa: ANN401 (whatever is to be validated)
        """Leave out how earlier versions, whose files say so, fitted the model."""
        if not isinstance(values, Mapping):
            return values
        return {name: value for name, value in values.items() if name not in OF_EARLIER_FITS}


class CompositionModel(nn.Module):
    """Probability of compositions, p(n) Π_k p(element_k | before, n) p(count_k | element_k, before, n).

    The number of atoms n has the frequencies of the training set. Elements follow in ascending electronegativity.
    No count exceeds the atoms left and the last column takes all that are left, so that counts add up to n exactly,
    whatever the weights. Counts are in the order of `elements` outside, and in that of generation inside.

    Args:
        settings: Size of the network.
        elements: Atomic numbers of the columns, ascending.
        size_counts: Number of training crystals with 0, 1, 2, ... atoms; the last is not 0.
        table: What is known about the elements; looked up when absent.

    Raises:
        ValueError: If elements do not ascend, or there is no crystal, or one without atoms.
    """

    order: Tensor
    properties: Tensor
    size_counts: Tensor

    def __init__(
        self,
        settings: CompositionModelSettings,
        elements: tuple[int, ...],
        size_counts: Int[Tensor, " n_sizes"],
        *,
        table: ElementTable | None = None,
    ) -> None:
        super().__init__()
        if not elements or list(elements) != sorted(set(elements)):
            raise ValueError(f"elements are {elements}, expected ascending atomic numbers, at least one")
        if len(size_counts) < 2 or int(size_counts[0]) != 0 or int(size_counts[-1]) < 1:
            raise ValueError(
                f"size_counts are {size_counts.tolist()}, expected crystals with at least one atom each"
            )
        self.settings, self.elements = settings, tuple(elements)
        self.n_max = len(size_counts) - 1
        table = table or ElementTable.of(self.elements)
        self.register_buffer("order", table.order)
        self.register_buffer("properties", table.properties)
        self.register_buffer("size_counts", size_counts.clone())
        (n_elements, n_properties), width = table.properties.shape, settings.width
        self.prefix_in = nn.Linear(2 * (n_elements + n_properties), width)
        self.size_in = nn.Embedding(self.n_max + 1, width)
        self.left_in = nn.Embedding(self.n_max + 1, width)
        self.blocks = nn.ModuleList([self._layers(width) for _ in range(settings.n_blocks)])
        self.query = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width))
        self.element = nn.Parameter(0.05 * torch.randn(n_elements, width))
        self.element_properties = nn.Linear(n_properties, width, bias=False)
        self.element_bias = nn.Parameter(torch.zeros(n_elements))
        self.count = self._layers(self.n_max)

    def _layers(self, n_outputs: int) -> nn.Sequential:
        width = self.settings.width
        return nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 2 * width),
            nn.SiLU(),
            nn.Dropout(self.settings.dropout),
            nn.Linear(2 * width, n_outputs),
        )

    @property
    def device(self) -> torch.device:
        """Where the model lives."""
        return self.order.device

    def hidden(
        self, prefix: Int[Tensor, "n n_elements"], sizes: Int[Tensor, " n"]
    ) -> Float[Tensor, "n width"]:
        """Encode unfinished compositions of known number of atoms; columns in the order of generation."""
        fractions = prefix / sizes[:, None].to(self.properties.dtype)
        present = (prefix > 0).to(fractions.dtype)
        inputs = [4 * fractions, present, fractions @ self.properties, present @ self.properties]
        hidden = self.prefix_in(torch.cat(inputs, dim=1))
        hidden = hidden + self.size_in(sizes) + self.left_in(sizes - prefix.sum(1))
        for block in self.blocks:
            hidden = hidden + block(hidden)
        return hidden

    def element_logits(
        self, hidden: Float[Tensor, "n width"], prefix: Int[Tensor, "n n_elements"]
    ) -> Float[Tensor, "n n_elements"]:
        """Score the next element; -inf for those that do not come after all present ones."""
        before = prefix.flip(1).cumsum(1).flip(1) > 0  # an element of the prefix stands here or further right
        logits = self.query(hidden) @ self._element_vectors().T + self.element_bias
        return logits.masked_fill(before, -torch.inf)

    def count_logits(
        self, hidden: Float[Tensor, "n width"], element: Int[Tensor, " n"], left: Int[Tensor, " n"]
    ) -> Float[Tensor, "n n_max"]:
        """Score 1, 2, ... atoms of the next element; -inf where the counts could not add up."""
        counts = torch.arange(1, self.n_max + 1, device=self.device)
        is_last = element[:, None] == len(self.elements) - 1
        impossible = (counts > left[:, None]) | (is_last & (counts != left[:, None]))
        logits = self.count(hidden + self._element_vectors()[element])
        return logits.masked_fill(impossible, -torch.inf)

    def _element_vectors(self) -> Float[Tensor, "n_elements width"]:
        return self.element + self.element_properties(self.properties)

    def step_log_prob(
        self, counts: Int[Tensor, "n n_elements"], element: Int[Tensor, " n"]
    ) -> Float[Tensor, " n"]:
        """Return log p(element, its count | the elements before it, number of atoms).

        Args:
            counts: Complete compositions, columns in the order of generation.
            element: A column of each that is not zero.
        """
        columns = torch.arange(counts.shape[1], device=self.device)
        prefix = torch.where(columns < element[:, None], counts, 0)
        sizes, amount = counts.sum(1), counts.gather(1, element[:, None])
        hidden = self.hidden(prefix, sizes)
        by_element = self.element_logits(hidden, prefix).log_softmax(1).gather(1, element[:, None])
        by_count = self.count_logits(hidden, element, sizes - prefix.sum(1)).log_softmax(1)
        return (by_element + by_count.gather(1, amount - 1))[:, 0]

    def log_prob(self, counts: Int[Tensor, "n n_elements"]) -> Float[Tensor, " n"]:
        """Return the log-probability of compositions; -inf where no training crystal has that number of atoms.

        Args:
            counts: Atoms of each element, columns in the order of `elements`, none negative.
        """
        sizes = counts.sum(1)
        share = self.size_counts.to(self.properties.dtype) / self.size_counts.sum()
        share = torch.where(sizes <= self.n_max, share[sizes.clamp(max=self.n_max)], 0.0)
        possible = (share > 0).nonzero()[:, 0]
        return share.log().index_add(0, possible, self.log_prob_given_size(counts[possible]))

    def log_prob_given_size(self, counts: Int[Tensor, "n n_elements"]) -> Float[Tensor, " n"]:
        """Return log p(composition | number of atoms), at least 1 and at most that of the largest training crystal.

        Args:
            counts: Atoms of each element, columns in the order of `elements`, none negative.
        """
        parts = [self.properties.new_zeros(0)]
        for chunk in counts[:, self.order].split(CRYSTALS_AT_ONCE):
            crystal, element = chunk.nonzero(as_tuple=True)
            total = self.properties.new_zeros(len(chunk))
            parts.append(total.index_add(0, crystal, self.step_log_prob(chunk[crystal], element)))
        return torch.cat(parts)

    @torch.no_grad()
    def sample(
        self,
        n_samples: int,
        *,
        generator: torch.Generator,
        temperature: float = 1.0,
        element_temperature: float | None = None,
        first: int | Sequence[int] = 0,
    ) -> Int[Tensor, "n_samples n_elements"]:
        """Draw compositions.

        Sample i is decided by random numbers of a stream of its own, keyed by one number from `generator` and by
        `first + i`, and by a copy of the model in double precision: the rounding of matrix products, which
        depends on the batch and the device, would otherwise tip a draw now and then.

        Args:
            n_samples: Number of samples; may be 0.
            generator: Seed of the streams; a fresh one with the same seed for every shard of a run.
            temperature: Divides the scores of elements and counts; below 1 the likely ones become likelier.
            element_temperature: Divides those of the elements instead; None for the same.
            first: Number of the first sample within the run, or the numbers of all.

        Returns:
            Atoms of each element, columns in the order of `elements`.

        Raises:
            UserError: If a temperature is not positive.
        """
        temperatures = positive_temperatures(temperature, element_temperature)
        key = int(torch.randint(2**62, (), generator=generator, device=generator.device))
        exact = copy.deepcopy(self).double().eval()
        n_draws = 1 + 2 * min(len(self.elements), self.n_max)  # number of atoms; each element, its count
        parts = [torch.zeros(0, len(self.elements), dtype=torch.long, device=self.device)]
        numbers = range(first, first + n_samples) if isinstance(first, int) else first
        for start in range(0, n_samples, CRYSTALS_AT_ONCE):
            part = numbers[start : start + CRYSTALS_AT_ONCE]
            uniform = uniform_streams(key, part, n_draws).to(self.device)
            parts.append(exact._draw(uniform, *temperatures))
        return torch.cat(parts)[:, self.order.argsort()]

    def _draw(
        self, uniform: Float[Tensor, "n n_draws"], temperature: float, element_temperature: float
    ) -> Int[Tensor, "n n_elements"]:
        """Turn uniform numbers into compositions, columns in the order of generation."""
        sizes = choose(self.size_counts.double().log().expand(len(uniform), -1), uniform[:, 0])
        counts = torch.zeros(len(uniform), len(self.elements), dtype=torch.long, device=self.device)
        active, position = torch.arange(len(uniform), device=self.device), 1
        while len(active):
            prefix, size = counts[active], sizes[active]
            hidden = self.hidden(prefix, size)
            scores = self.element_logits(hidden, prefix) / element_temperature
            element = choose(scores, uniform[active, position])
            scores = self.count_logits(hidden, element, size - prefix.sum(1)) / temperature
            counts[active, element] = 1 + choose(scores, uniform[active, position + 1])
            active, position = active[counts[active].sum(1) < size], position + 2
        return counts

    def tensors_and_metadata(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return all that `from_tensors_and_metadata` needs, as tensors and plain JSON values."""
        metadata = {"settings": self.settings.model_dump(mode="json"), "elements": list(self.elements)}
        return dict(self.state_dict()), metadata

    @classmethod
    def from_tensors_and_metadata(
        cls, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]
    ) -> "CompositionModel":
        """Build the model that `tensors_and_metadata` described, in evaluation mode.

        Raises:
            UserError: If tensors and metadata do not fit together.
        """
        try:
            settings = CompositionModelSettings.model_validate(metadata["settings"])
            table = ElementTable(order=tensors["order"], properties=tensors["properties"])
            model = cls(settings, tuple(metadata["elements"]), tensors["size_counts"], table=table)
            model.load_state_dict(dict(tensors))
        except (KeyError, ValueError, RuntimeError) as error:  # pydantic's error is a ValueError
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"the composition model cannot be restored ({reason}): train it again") from error
        return model.eval()

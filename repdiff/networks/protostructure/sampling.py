"""Draw protostructures, free or under exact conditions, orbit by orbit or on a prototype of the training set.

Under conditions several candidates are drawn for each sample, each step among what the conditions allow; one of them
is then chosen by importance, the share of the model's probability that the conditions left at each step. With more
candidates the draws come nearer to the model's own distribution given the conditions; every one satisfies them exactly.
A prototype is such a condition: which elements come together is then drawn, and which letters each of them takes.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from descriptors.symmetry.protostructure import Protostructure
from descriptors.symmetry.space_group import LETTERS
from repdiff.errors import UserError
from repdiff.networks.protostructure.alike import alike
from repdiff.networks.protostructure.allowed import allowed_by_formula, allowed_positions, is_fixed
from repdiff.networks.protostructure.guided import GuidedScores
from repdiff.networks.protostructure.model import Prefix, ProtostructureModel
from repdiff.networks.protostructure.prototype_walk import ANY, PrototypeWalk
from repdiff.networks.protostructure.request import Choices, ProtostructureRequest, choices, element_masks
from repdiff.networks.protostructure.sequences import letter_flags
from repdiff.networks.random_streams import choose, uniform_streams
from repdiff.networks.temperature import positive_temperatures

DRAWS_AT_ONCE = 2048
N_CANDIDATES = 16  # of a sample under conditions
N_ATTEMPTS = 8  # at a sample whose candidates all came to a dead end, or that was unwanted


@dataclass(frozen=True, kw_only=True)
class Draw:
    """What became of one sample.

    Attributes:
        protostructure: None if there is none.
        reason: Why there is none; "" if there is one.
        n_dead_ends: Candidates that could not be completed, or were unwanted.
    """

    protostructure: Protostructure | None
    reason: str = ""
    n_dead_ends: int = 0

    def with_reason(self) -> "Draw":
        """Say why there is none, if there is none and nothing was said."""
        if self.protostructure is not None or self.reason:
            return self
        return replace(self, reason=f"none that was wanted was completed in {self.n_dead_ends} draws")


@torch.no_grad()
def sample_protostructures(
    model: ProtostructureModel,
    n_samples: int,
    *,
    generator: torch.Generator,
    requests: Sequence[ProtostructureRequest] | None = None,
    temperature: float = 1.0,
    element_temperature: float | None = None,
    prototype_share: float = 0.0,
    first: int | Sequence[int] = 0,
    n_candidates: int | None = None,
    unwanted: Callable[[Protostructure], bool] | None = None,
    labels: Mapping[str, Sequence[float]] | None = None,
    guidance: float = 1.0,
) -> list[Draw]:
    """Draw protostructures.

    Sample i is decided by random numbers of a stream of its own, and by a copy of the model in double precision: it
    depends neither on the batch nor on how many others are drawn.

    Args:
        model: Trained.
        n_samples: How many; may be 0.
        generator: Seed of the streams; a fresh one with the same seed for every shard of a run.
        requests: One for each sample; None to ask for nothing.
        temperature: Divides all scores; below 1 the likely protostructures become likelier.
        element_temperature: Divides those of the elements instead; None for the same.
        prototype_share: Share of the samples that get a prototype of the training set, as often as it occurs there
            (and as the temperature says); the others are drawn orbit by orbit. What is asked goes before: a sample that
            no such prototype fits is drawn orbit by orbit.
        first: Number of the first sample within the run, or the numbers of all.
        n_candidates: Candidates of each sample; by default 16 if something is asked or some get a prototype.
        unwanted: Tells which protostructures are to be drawn again; None for none.
        labels: Raw numbers of properties that are asked of all samples, for a model that has learnt them.
        guidance: γ of classifier-free guidance by these; see `GuidedScores`.

    Raises:
        UserError: If a temperature or the number of candidates is not positive, or the share is none.
    """
    temperatures = positive_temperatures(temperature, element_temperature)
    if not 0 <= prototype_share <= 1:
        raise UserError(f"`prototype_share` is {prototype_share}, expected a share from 0 to 1")
    keys = torch.randint(2**62, (N_ATTEMPTS,), generator=generator, device=generator.device).tolist()
    numbers = range(first, first + n_samples) if isinstance(first, int) else first
    scores = GuidedScores(copy.deepcopy(model).double().eval(), labels, guidance)
    wanted = list(requests) if requests is not None else [ProtostructureRequest()] * n_samples
    if n_candidates is None:
        is_free = prototype_share == 0 and all(request.is_empty for request in wanted)
        n_candidates = 1 if is_free else N_CANDIDATES
    if n_candidates < 1:
        raise UserError(f"n_candidates is {n_candidates}, expected at least 1")
    known = {
        request: _Known(
            free=choices(request, model.sizes, model.elements),
            prototypes=model.prototypes.choices(request, model.elements) if prototype_share else None,
        )
        for request in set(wanted)
    }
    draws = [Draw(protostructure=None, reason=known[request].free.reason) for request in wanted]
    for key in keys:
        left = [place for place, draw in enumerate(draws) if draw.protostructure is None and not draw.reason]
        group_size = max(1, DRAWS_AT_ONCE // n_candidates)
        for start in range(0, len(left), group_size):
            places = left[start : start + group_size]
            batch = _Batch(
                scores,
                [wanted[place] for place in places],
                known,
                temperatures,
                prototype_share,
                n_candidates,
            )
            found = batch.run(key, [numbers[place] for place in places])
            for place, draw in zip(places, found, strict=True):
                dropped = unwanted is not None and (one := draw.protostructure) is not None and unwanted(one)
                draws[place] = replace(
                    draw,
                    protostructure=None if dropped else draw.protostructure,
                    n_dead_ends=draw.n_dead_ends + draws[place].n_dead_ends + dropped,
                )
    return [draw.with_reason() for draw in draws]


@dataclass(frozen=True, kw_only=True)
class _Known:
    """What a request leaves open, and which prototypes of the training set; None where none are wanted."""

    free: Choices
    prototypes: Choices | None


class _Batch:
    """Draws that are made together, `n_candidates` rows for each sample."""

    def __init__(
        self,
        scores: GuidedScores,
        requests: Sequence[ProtostructureRequest],
        known: Mapping[ProtostructureRequest, _Known],
        temperatures: tuple[float, float],
        prototype_share: float,
        n_candidates: int,
    ) -> None:
        self.scores, self.model, self.requests, self.known = scores, scores.model, requests, known
        self.temperature, self.element_temperature = temperatures
        self.prototype_share, self.n_candidates = prototype_share, n_candidates
        self.elements, self.positions = scores.elements, scores.positions
        self.rows_of = [request for request in requests for _ in range(self.n_candidates)]
        self.n_rows = len(self.rows_of)
        self.rows_of_samples = torch.arange(self.n_rows).reshape(-1, n_candidates).tolist()

    def run(self, key: int, numbers: Sequence[int]) -> list[Draw]:
        """Draw the candidates of all samples, and choose one of each."""
        model, n_orbits = self.model, self.model.sizes.n_max
        width = 1 + 2 * n_orbits
        streams = torch.cat(
            [uniform_streams(key, range(i, i + 1), 3 + self.n_candidates * width) for i in numbers]
        ).to(model.device)
        uniform = streams[:, 3:].reshape(self.n_rows, width)
        self._begin(uniform[:, 0], streams[:, 1:3].cpu())
        active, step = torch.arange(self.n_rows, device=model.device), 0
        while len(active):
            self._place(active, uniform[active, 1 + 2 * step], uniform[active, 2 + 2 * step])
            active, step = active[self.alive[active] & (self.n_left[active] > 0)], step + 1
        return self._choose(streams[:, 0])

    def _begin(self, uniform: Float[Tensor, " n_rows"], for_prototype: Float[Tensor, "n_samples 2"]) -> None:
        """Draw space group, number of atoms and number of elements of each row, by a prototype or not."""
        model, n = self.model, self.n_rows
        heads = torch.zeros(n, 4, dtype=torch.long)
        self.walks = [PrototypeWalk() for _ in range(n)]
        samples_by_request: dict[ProtostructureRequest, list[int]] = {}
        for sample, request in enumerate(self.requests):
            samples_by_request.setdefault(request, []).append(sample)
        for request, samples in samples_by_request.items():
            known = self.known[request]
            held = self._hold_prototypes(samples, known.prototypes, for_prototype[samples], heads)
            free = [sample for sample in samples if sample not in held]
            rows = [row for sample in free for row in self.rows_of_samples[sample]]
            scores = (self.scores.of_sizes(known.free) / self.temperature).expand(len(rows), -1)
            heads[rows] = known.free.entries[choose(scores, uniform[rows].cpu())]
        heads = heads.to(model.device)
        n_elements = len(model.elements)
        self.group, self.n_atoms, self.n_kinds = heads[:, 0], heads[:, 1], heads[:, 2]
        self.orbits = torch.zeros(n, model.settings.width, dtype=torch.float64, device=model.device)
        self.atoms = torch.zeros(n, n_elements, dtype=torch.long, device=model.device)
        self.n_left, self.n_to_come = self.n_atoms.clone(), self.n_kinds.clone()
        self.last_element = torch.full((n,), n_elements, device=model.device)
        self.last_position = torch.full((n,), len(self.positions) - 1, device=model.device)
        self.used, self.last_letter = [""] * n, [""] * n
        self.alive = torch.ones(n, dtype=torch.bool, device=model.device)
        self.log_weight = torch.zeros(n, dtype=torch.float64, device=model.device)
        self.drawn: list[list[tuple[int, int]]] = [[] for _ in range(n)]
        self.begun = alike(self.group, self.n_atoms, self.n_kinds).kind  # equal where all that is drawn is
        masks = element_masks(self.rows_of, heads[:, 3].tolist(), model.coder.order)
        self.allowed, self.required, self.target = (mask.to(model.device) for mask in masks)

    def _hold_prototypes(
        self,
        samples: Sequence[int],
        found: Choices | None,
        uniform: Float[Tensor, "n 2"],
        heads: Int[Tensor, "n_rows 4"],
    ) -> set[int]:
        """Give a share of the samples a prototype each, the same to all its candidates, and return which."""
        if found is None or not len(found.entries):
            return set()
        scores = (self.scores.of_prototypes(found) / self.temperature).expand(len(samples), -1)
        chosen = found.entries[choose(scores, uniform[:, 1])].tolist()
        held = set()
        for sample, share, (place, *sizes) in zip(samples, uniform[:, 0].tolist(), chosen, strict=True):
            if share >= self.prototype_share:
                continue
            one = self.model.prototypes.prototypes[place]
            for row in self.rows_of_samples[sample]:
                heads[row], self.walks[row] = torch.tensor([one.number, *sizes]), PrototypeWalk(one)
            held.add(sample)
        return held

    def _place(
        self, rows: Int[Tensor, " n"], for_element: Float[Tensor, " n"], for_letter: Float[Tensor, " n"]
    ) -> None:
        """Draw the next orbit of some rows."""
        model = self.model
        last_element, group = self.last_element[rows], self.group[rows]
        first, kind = alike(self.begun[rows])
        hidden = self.scores.hidden(self._prefix(rows[first]))
        same, new = (flags[kind] for flags in self._flags(rows[first]))
        may_come = model.allowed_elements(same.any(1), new.any(1), last_element, self.n_to_come[rows])
        scores = self.scores.of_elements(hidden)[kind] / self.element_temperature
        asked = may_come & self._asked_elements(rows) & self._elements_of_prototypes(rows)
        element = self._draw(rows, scores, may_come, asked, for_element)
        may_take = torch.where((element == last_element)[:, None], same, new)
        first, with_element = alike(kind, element)
        known = [one[kind[first]] for one in hidden]
        scores = self.scores.of_letters(known, element[first], group[first])[with_element] / self.temperature
        letter = self._draw(rows, scores, may_take, may_take & self._asked_letters(rows, element), for_letter)
        self._add(rows, element, letter)

    def _prefix(self, rows: Int[Tensor, " n"]) -> Prefix:
        """Return what is known of some rows."""
        return Prefix(
            group=self.group[rows],
            n_atoms=self.n_atoms[rows],
            n_elements=self.n_kinds[rows],
            orbits=self.orbits[rows],
            shares=self.atoms[rows].double() / self.n_atoms[rows, None],
            n_left=self.n_left[rows],
            n_elements_left=self.n_to_come[rows],
            last_element=self.last_element[rows],
            last_position=self.last_position[rows],
        )

    def _draw(
        self,
        rows: Int[Tensor, " n"],
        scores: Float[Tensor, "n k"],
        possible: Bool[Tensor, "n k"],
        asked: Bool[Tensor, "n k"],
        uniform: Float[Tensor, " n"],
    ) -> Int[Tensor, " n"]:
        """Choose among what is asked for, and keep account of the probability that was left out."""
        self.alive[rows] &= asked.any(1)
        asked = asked | ~self.alive[rows, None]  # a row that is lost draws anything
        held = scores.masked_fill(~asked, -torch.inf)
        share = held.logsumexp(1) - scores.masked_fill(~possible, -torch.inf).logsumexp(1)
        self.log_weight[rows] += torch.where(self.alive[rows], share, -torch.inf)
        return choose(held, uniform)

    def _flags(
        self, rows: Int[Tensor, " n"]
    ) -> tuple[Bool[Tensor, "n n_letters"], Bool[Tensor, "n n_letters"]]:
        """Tell which letters the last element may take, and which a new one, whatever is asked for."""
        columns = zip(
            rows.tolist(),
            self.group[rows].tolist(),
            self.n_left[rows].tolist(),
            self.n_to_come[rows].tolist(),
            strict=True,
        )
        bits = torch.tensor(
            [
                allowed_positions(group, n_left, self.used[row], self.last_letter[row], n_to_come)
                for row, group, n_left, n_to_come in columns
            ]
        )
        return letter_flags(bits[:, 0]).to(rows.device), letter_flags(bits[:, 1]).to(rows.device)

    def _asked_elements(self, rows: Int[Tensor, " n"]) -> Bool[Tensor, "n n_elements"]:
        """Tell which elements may come next by what is asked for."""
        allowed, target, atoms = self.allowed[rows], self.target[rows], self.atoms[rows]
        places = torch.arange(allowed.shape[1], device=rows.device)
        to_come, is_last = self.n_to_come[rows, None], places == self.last_element[rows, None]
        after = allowed.flip(1).cumsum(1).flip(1) - allowed.long()
        missing = self.required[rows] & (atoms == 0)
        first_missing = torch.where(missing.any(1), missing.long().argmax(1), len(places))[:, None]
        enough = to_come - 1 >= missing.sum(1, keepdim=True) - missing.long()
        new = allowed & (after >= to_come - 1) & (places <= first_missing) & enough
        asked = torch.where(is_last, allowed, new)
        left = target - atoms
        has_formula = (target >= 0).any(1)
        wanted = left > 0
        following = places == wanted.long().argmax(1, keepdim=True)
        return torch.where(has_formula[:, None], following & wanted, asked)

    def _elements_of_prototypes(self, rows: Int[Tensor, " n"]) -> Bool[Tensor, "n n_elements"]:
        """Tell whether the prototypes want more orbits of the last element, or orbits of a new one."""
        walks = [self.walks[row] for row in rows.tolist()]
        same, new = (
            torch.tensor([walk.letters(is_new=is_new) > 0 for walk in walks], device=rows.device)
            for is_new in (False, True)
        )
        places = torch.arange(len(self.model.elements), device=rows.device)
        is_last = places == self.last_element[rows, None]
        return torch.where(is_last, same[:, None], new[:, None])

    def _asked_letters(
        self, rows: Int[Tensor, " n"], element: Int[Tensor, " n"]
    ) -> Bool[Tensor, "n n_letters"]:
        """Tell which letters lead to the formulas and prototypes that are asked for."""
        left = (self.target[rows] - self.atoms[rows]).tolist()
        bits = []
        for row, group, chosen, last, counts in zip(
            rows.tolist(), self.group[rows].tolist(), element.tolist(), self.last_element[rows].tolist(), left,
            strict=True,
        ):  # fmt: skip
            asked, size = ANY, 0
            if self.alive[row] and self.rows_of[row].formulas is not None:
                size = int(self.target[row, chosen])
                others = sorted(count for place, count in enumerate(counts) if count and place != chosen)
                asked = allowed_by_formula(
                    group,
                    (counts[chosen], *others),
                    self.used[row],
                    self.last_letter[row],
                    is_new=chosen != last,
                )
            bits.append(asked & self.walks[row].letters(is_new=chosen != last, size=size))
        return letter_flags(torch.tensor(bits)).to(rows.device)

    def _add(self, rows: Int[Tensor, " n"], element: Int[Tensor, " n"], letter: Int[Tensor, " n"]) -> None:
        """Put an orbit into each row that is not lost."""
        kept = self.alive[rows]
        rows, element, letter = rows[kept], element[kept], letter[kept]
        number = self.model.position_start[self.group[rows]] + letter
        size = self.model.position_size[number]
        first, kind = alike(element, number)
        vectors = self.model.orbit_vectors(self.elements[element[first]], self.positions[number[first]])
        self.orbits[rows] += vectors[kind]
        self.begun[rows] = alike(self.begun[rows], element, letter).kind
        self.atoms[rows, element] += size
        self.n_left[rows] -= size
        is_new = element != self.last_element[rows]
        self.n_to_come[rows] -= is_new.long()
        self.last_element[rows], self.last_position[rows] = element, number
        for row, group, chosen, index, new in zip(
            rows.tolist(), self.group[rows].tolist(), element.tolist(), letter.tolist(), is_new.tolist(),
            strict=True,
        ):  # fmt: skip
            self.drawn[row].append((chosen, index))
            self.walks[row].add(LETTERS[index], is_new=new)
            self.last_letter[row] = LETTERS[index]
            if is_fixed(group, LETTERS[index]):
                self.used[row] = "".join(sorted(self.used[row] + LETTERS[index]))

    def _choose(self, uniform: Float[Tensor, " n_samples"]) -> list[Draw]:
        """Choose one candidate of each sample by importance."""
        weights = self.log_weight.reshape(-1, self.n_candidates)
        n_dead = (~self.alive).reshape(-1, self.n_candidates).sum(1).tolist()
        safe = torch.where(weights.isneginf().all(1, keepdim=True), 0.0, weights)
        chosen = (
            choose(safe, uniform) + torch.arange(len(weights), device=safe.device) * self.n_candidates
        ).tolist()
        draws = []
        for row, dead in zip(chosen, n_dead, strict=True):
            if not self.alive[row]:
                draws.append(Draw(protostructure=None, n_dead_ends=dead))
                continue
            elements, letters = zip(*self.drawn[row], strict=True)
            found = self.model.coder.decode(int(self.group[row]), elements, letters)
            draws.append(Draw(protostructure=found, n_dead_ends=dead))
        return draws

"""How long and how to search: the settings of a search, and the named ones."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace

MOVES = ("displace", "swap", "relocate")


@dataclass(frozen=True, kw_only=True)
class Rung:
    """One leg of the descents of a round.

    Attributes:
        n_trials: Trials of each crystal that take part: all proposals of the round in the first rung, then the lowest
            of the rung before.
        n_steps: Adam iterations.
        n_stages: Number of stages of the descriptor to match, for crystals of two or more elements; None for all.
        last_stage: Match the last stage alone, for crystals of one element that are dense enough to have 20 neighbours
            in its range. Where it reaches less far than the others an evaluation is cheaper.
    """

    n_trials: int
    n_steps: int
    n_stages: int | None = None
    last_stage: bool = False

    def __post_init__(self) -> None:
        """Check the values."""
        if self.n_trials < 1 or self.n_steps < 1:
            raise ValueError(f"{self.n_trials} trials × {self.n_steps} steps, expected at least 1 of each")
        if self.n_stages is not None and self.n_stages < 1:
            raise ValueError(f"{self.n_stages} stages, expected at least 1, or None for all")


@dataclass(frozen=True, kw_only=True)
class Elemental:
    """What a search does otherwise for crystals of one element; the names are those of `Search`."""

    rungs: tuple[Rung, ...]
    n_rounds: int
    learning_rate: float
    fresh: float
    symmetric: float


@dataclass(frozen=True, kw_only=True)
class Search:
    """Settings of a search by rounds of proposals and descents.

    Attributes:
        rungs: The descents of a round: many trials for a while, then the lowest of them to the end.
        n_rounds: Rounds at most.
        learning_rate: First step length of a descent, Å; it falls along a cosine through all rungs.
        n_kept: Minima that each crystal remembers; hops start from these.
        n_drawn: New starts and hops drawn for each one proposed: of `n_drawn` times as many, the lowest by the first
            stage of the descriptor are taken. For compounds only: of crystals of one element an early loss says little.
        fresh: Share of the proposals that are new starts, from the second round on; the first has no others.
        symmetric: Share of the new starts that are symmetric; see `reconstruction.symmetry`.
        moves: Relative frequency of each hop; see `reconstruction.initialize`.
        hop_size: Range of the "displace" hop, Å.
        n_exchanged: Whenever there is a new lowest minimum, every two of its atoms of different elements are exchanged,
            and so many of the hops are the lowest of these by the first stage of the descriptor. For compounds only.
        solved_below: A crystal whose loss is below this is done.
        n_agreeing: A crystal is done when so many independent trials have found the same lowest loss (within 1 %); 0
            turns this off.
        patience: A crystal is done after so many rounds without a lower minimum; 0 turns this off.
        n_polish: Adam iterations from each new lowest minimum.
        polish_rate: First step length of these, Å.
        n_refine: Levenberg-Marquardt iterations from each new lowest minimum that is nearly right.
        refined_below: The loss that counts as nearly right.
        repulsion: Weight of the overlap term of the objective, Å⁻²: physics against fidelity.
        max_evaluations: A crystal that has spent so many is done; 0 for no limit.
        max_seconds: A crystal is done after so many seconds, its share of the time of its batch; looked at between
            rounds; 0 for no limit. With a limit the result depends on the speed of the machine.
        elemental: What is different for crystals of one element; None for nothing.
    """

    rungs: tuple[Rung, ...]
    n_rounds: int
    learning_rate: float
    n_kept: int
    n_drawn: int = 1
    fresh: float = 0.0
    symmetric: float = 0.0
    moves: Mapping[str, float] = field(default_factory=lambda: {"displace": 1.0})
    hop_size: float = 1.0
    n_exchanged: int = 0
    solved_below: float = 1e-4
    n_agreeing: int = 0
    patience: int = 0
    n_polish: int = 60
    polish_rate: float = 0.06
    n_refine: int = 0
    refined_below: float = 0.01
    repulsion: float = 1.0
    max_evaluations: int = 0
    max_seconds: float = 0.0
    elemental: Elemental | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        self.of_one_element()
        trials = [rung.n_trials for rung in self.rungs]
        if not trials or self.n_rounds < 1:
            raise ValueError(f"{len(trials)} rungs × {self.n_rounds} rounds, expected at least 1 of each")
        if trials != sorted(trials, reverse=True):
            raise ValueError(f"rungs of {trials} trials, expected no rung with more than the one before")
        if not 1 <= self.n_kept <= trials[0]:
            raise ValueError(
                f"{self.n_kept} minima kept of {trials[0]} trials, expected at least 1 and no more"
            )
        if self.n_drawn < 1:
            raise ValueError(f"{self.n_drawn} starts drawn for each one proposed, expected at least 1")
        for rate in (self.learning_rate, self.polish_rate):
            if not rate > 0:
                raise ValueError(f"learning rate is {rate} Å, expected a positive length")
        if not self.moves or not set(self.moves) <= set(MOVES):
            raise ValueError(f"moves are {sorted(self.moves)}, expected some of {', '.join(MOVES)}")
        if not all(weight > 0 for weight in self.moves.values()):
            raise ValueError(f"moves are {dict(self.moves)}, expected positive frequencies")
        limits = (
            self.n_agreeing,
            self.patience,
            self.n_exchanged,
            self.n_polish,
            self.n_refine,
            self.max_evaluations,
            self.max_seconds,
        )
        if not min(*limits, self.hop_size, self.repulsion) >= 0:
            raise ValueError(f"a limit, hop size or repulsion is negative in {self}, expected none")
        if not (0 <= self.fresh <= 1 and 0 <= self.symmetric <= 1):
            raise ValueError(f"shares are {self.fresh} and {self.symmetric}, expected 0 to 1")

    def of_one_element(self) -> "Search":
        """Return the settings for crystals of one element."""
        if self.elemental is None:
            return self
        changes = {entry.name: getattr(self.elemental, entry.name) for entry in fields(self.elemental)}
        return replace(self, elemental=None, **changes)

    @property
    def n_proposals(self) -> int:
        """Trials of each crystal that a round begins with."""
        return self.rungs[0].n_trials

    @property
    def n_steps(self) -> int:
        """Adam iterations of a trial that goes through all rungs."""
        return sum(rung.n_steps for rung in self.rungs)


HOPS = {"swap": 0.5, "relocate": 0.4, "displace": 0.1}
LADDER = (
    Rung(n_trials=20, n_steps=40, n_stages=1),
    Rung(n_trials=6, n_steps=50, n_stages=1),
    Rung(n_trials=3, n_steps=80),
)
ELEMENTAL = Elemental(
    rungs=(Rung(n_trials=10, n_steps=200, last_stage=True), Rung(n_trials=4, n_steps=100, last_stage=True)),
    n_rounds=40,
    learning_rate=1.5,
    fresh=1.0,
    symmetric=0.75,
)
DEFAULT = Search(
    rungs=LADDER,
    n_rounds=16,
    n_drawn=10,
    n_kept=6,
    learning_rate=0.18,
    fresh=0.5,
    symmetric=0.75,
    moves=HOPS,
    n_exchanged=4,
    n_refine=8,
    elemental=ELEMENTAL,
)
SEARCHES = {
    "default": DEFAULT,
    "fast": replace(DEFAULT, n_rounds=3, elemental=replace(ELEMENTAL, n_rounds=5)),
    "thorough": replace(DEFAULT, n_rounds=100, elemental=replace(ELEMENTAL, n_rounds=100)),
    "paper": Search(
        rungs=(Rung(n_trials=6, n_steps=300),),
        n_rounds=7,
        n_kept=6,
        learning_rate=0.2,
        polish_rate=0.04,
        solved_below=5e-4,
    ),
}

"""Trained models, ready to sample."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from descriptors.symmetry.protostructure import Protostructure
from repdiff.api.arguments import request_of
from repdiff.api.asking import draw, usable
from repdiff.api.checks import checked
from repdiff.api.results import reconstruct
from repdiff.api.steering import steered
from repdiff.api.varying import variations
from repdiff.backends import Backend
from repdiff.backends.property_head import Head
from repdiff.backends.steering import with_predictions
from repdiff.conditions import judge
from repdiff.crystals.crystal_set import CrystalSet
from repdiff.errors import UserError
from repdiff.execution.progress import bars
from repdiff.metrics.structure_groups import MatcherName
from repdiff.representations.batch import RepresentationBatch
from repdiff.representations.blocks import Blocks
from repdiff.representations.encoded_set import EncodedSet
from repdiff.representations.inversion import named_search
from repdiff.runs.model_files import copy_model
from repdiff.runs.shipped_models import ModelCard, card_of, sampling_unless
from repdiff.settings.paths import home_expanded

if TYPE_CHECKING:
    from repdiff.crystals.convert import CrystalsLike
else:
    CrystalsLike = object


class Model:
    """A trained model, ready to sample; `train` and `load_model` make one.

    Attributes:
        path: Folder or file of the weights.
        backend_name: Name of its system, such as "structrepdiff".
        backend: The system itself.
    """

    def __init__(self, path: Path, backend_name: str, backend: Backend) -> None:
        self.path, self.backend_name, self.backend = path, backend_name, backend

    @property
    def card(self) -> ModelCard | None:
        """What is known of a model that came with the package; None for others."""
        return card_of(self.path)

    @checked
    def sample(
        self,
        n: int,
        *,
        composition: str | Sequence[str] | None = None,
        protostructure: str | Protostructure | Sequence[str | Protostructure] | None = None,
        formula_units: int | str | None = None,
        chemical_system: str | Sequence[str] | None = None,
        elements_allowed: str | Sequence[str] | None = None,
        elements_excluded: str | Sequence[str] | None = None,
        space_group: int | str | Sequence[int] | None = None,
        crystal_system: str | Sequence[str] | None = None,
        n_atoms: int | str | Sequence[int] | None = None,
        volume_per_atom: str | Sequence[float] | None = None,
        lattice: Mapping[str, object] | str | None = None,
        conditions: Mapping[str, object] | None = None,
        hold: Mapping[str, object] | None = None,
        guidance: float | None = None,
        steer: Mapping[str, object] | Callable[[Blocks], Tensor] | None = None,
        heads: Head | str | Path | Sequence[Head | str | Path] | None = None,
        seed: int = 0,
        search: str = "default",
        n_workers: int = 1,
        progress: bool = True,
        **options: object,
    ) -> CrystalSet:
        """Draw new crystals; vectors are inverted on the way, where the model makes vectors.

        Sample i of a seed is the same whatever `n`. An interrupt (Ctrl-C, or the stop button of a notebook) leaves
        nothing behind, and the model as it was.

        Args:
            n: Number of crystals.
            composition: Formula of all atoms in the cell, such as "Li2Fe2O4", or several that are taken in turn.
            protostructure: What sits where, as a label such as "AB_cF8_225_a_b:Cl-Na" or a `Protostructure`, or several
                that are taken in turn.
            formula_units: How many times a composition the cell holds, such as "1-4"; once by default.
            chemical_system: Elements of all samples, such as "Li-Fe-O".
            elements_allowed: Elements that samples may have.
            elements_excluded: Elements that samples shall not have.
            space_group: Number of the space group, or several.
            crystal_system: Such as "cubic", or several.
            n_atoms: Atoms of the cell, such as 8 or "5-12".
            volume_per_atom: Range in Å³, such as "10-14" or "12±1".
            lattice: Ranges of lengths (Å) and angles (degrees) of the conventional cell, such as {"a": "4.1±0.05"} or
                "a=4.1±0.05".
            conditions: All these by name too, and plain properties such as {"density": "5-7"}; values of properties,
                for models that were taught them. See `docs/how-to/conditions.md` for what each system honours, and how.
            hold: Parts of the vector to hold while the rest is drawn, by a model that makes vectors: numbers such as
                {"composition.Li": 0.25, "volume": 12.5}, or crystals that have them, {"cell": structure}. See
                `docs/how-to/inpainting.md`.
            guidance: Strength of the conditions: 0 ignores them, 1 is as trained, more exaggerates.
            steer: Goals of properties that `heads` predict, such as {"gap": 1.5}, {"gap": "1.5±0.1"} or {"gap": "max"},
                or a function of the blocks of representations (`repdiff.representations.blocks`) that shall be large;
                samples are drawn towards them without training, see `docs/how-to/steering.md`.
            heads: What `fit_head` or `load_head` returned, one for each goal.
            seed: Seed of the samples, and of the search.
            search: How hard to invert vectors: "fast", "default", "thorough" or "paper".
            n_workers: Processes that invert vectors; see `reconstruct`.
            progress: Whether to show bars.
            options: Sampling settings of the backend, such as sampler="ddim", steps=50, or keep_best=0.3 with the
                `ranker` that `train_ranker` returned; with `steer` steer_strength, caution and candidates. A model of
                the package brings its own, which hold unless others are given: `card.sampling`.

        Returns:
            The crystals, what was asked of each beside what it is; `failed` has the samples that make none, or none as
            asked, with the reasons, and `remarks` say how many obey.

        Raises:
            UserError: If the model cannot make what is asked for; nothing is made then.

        Example:
            >>> import repdiff as rd
            >>> from ase.build import bulk
            >>> salts = [bulk(name, "rocksalt", a=5.5) for name in ("NaCl", "KCl", "NaBr")]
            >>> encoded = rd.encode(salts, device="cpu", progress=False)
            >>> model = rd.train(encoded, backend="retrieval", device="cpu", progress=False)
            >>> model.sample(2, progress=False)
            CrystalSet: 2 crystals
            >>> model.sample(2, composition="NaCl")
            Traceback (most recent call last):
            repdiff.errors.UserError: a model of retrieval takes no compositions: leave them out, or use another
        """
        named_search(search)
        options = self._with_card(options, hold)
        backend, steering, options = steered(self.backend, steer, heads, options)
        request = request_of(
            backend,
            self.backend_name,
            n=n,
            composition=composition,
            protostructure=protostructure,
            named={
                "formula_units": formula_units,
                "chemical_system": chemical_system,
                "elements_allowed": elements_allowed,
                "elements_excluded": elements_excluded,
                "space_group": space_group,
                "crystal_system": crystal_system,
                "n_atoms": n_atoms,
                "volume_per_atom": volume_per_atom,
            },
            lattice=lattice,
            conditions=conditions,
            hold=hold,
            guidance=guidance,
            seed=seed,
            options=options,
        )
        with bars(progress):
            made = draw(backend, request)
            if isinstance(made, RepresentationBatch):
                found = reconstruct(made, search=search, seed=seed, n_workers=n_workers, progress=progress)
                if steering is None:
                    return found
                return with_predictions(found, steering, made.layout.descriptor)
            return judge(usable(made), request.asked, made.ids, progress=progress).crystals

    @checked
    def sample_representations(
        self,
        n: int,
        *,
        composition: str | Sequence[str] | None = None,
        protostructure: str | Protostructure | Sequence[str | Protostructure] | None = None,
        formula_units: int | str | None = None,
        chemical_system: str | Sequence[str] | None = None,
        elements_allowed: str | Sequence[str] | None = None,
        elements_excluded: str | Sequence[str] | None = None,
        space_group: int | str | Sequence[int] | None = None,
        crystal_system: str | Sequence[str] | None = None,
        n_atoms: int | str | Sequence[int] | None = None,
        volume_per_atom: str | Sequence[float] | None = None,
        lattice: Mapping[str, object] | str | None = None,
        conditions: Mapping[str, object] | None = None,
        hold: Mapping[str, object] | None = None,
        guidance: float | None = None,
        steer: Mapping[str, object] | Callable[[Blocks], Tensor] | None = None,
        heads: Head | str | Path | Sequence[Head | str | Path] | None = None,
        seed: int = 0,
        progress: bool = True,
        **options: object,
    ) -> RepresentationBatch:
        """Draw representation vectors without inverting them; `reconstruct` does that later.

        Args:
            n: Number of vectors.
            composition: One or several formulas, see `sample`.
            protostructure: One or several, see `sample`.
            formula_units: How many times a composition the cell holds, see `sample`.
            chemical_system: Elements of all samples, see `sample`.
            elements_allowed: Elements that samples may have.
            elements_excluded: Elements that samples shall not have.
            space_group: Number of the space group, or several.
            crystal_system: Such as "cubic", or several.
            n_atoms: Atoms of the cell, see `sample`.
            volume_per_atom: Range in Å³; `reconstruct` checks it.
            lattice: Ranges of lengths and angles; `reconstruct` checks them.
            conditions: All these by name too, see `sample`.
            hold: Parts to hold, see `sample`.
            guidance: Strength of the conditions, see `sample`.
            steer: Goals of properties, or a function, see `sample`.
            heads: One for each goal.
            seed: Seed of the samples.
            progress: Whether to show bars.
            options: Sampling settings of the backend.

        Raises:
            UserError: If the model makes crystals at once, or cannot make what is asked for.

        Example:
            >>> import repdiff as rd
            >>> from ase.build import bulk
            >>> encoded = rd.encode([bulk("Cu"), bulk("Fe")], symprec=None, device="cpu", progress=False)
            >>> model = rd.train(encoded, compositions="joint", max_steps=1, device="cpu", progress=False)
            >>> model.sample_representations(3, sampler="ddim", steps=2, progress=False)
            RepresentationBatch: 3 vectors of 658 features (ead)
        """
        if self.backend.makes != "representations":
            raise UserError(f"a model of {self.backend_name} makes crystals, not vectors: use Model.sample")
        options = self._with_card(options, hold)
        backend, _, options = steered(self.backend, steer, heads, options)
        request = request_of(
            backend,
            self.backend_name,
            n=n,
            composition=composition,
            protostructure=protostructure,
            named={
                "formula_units": formula_units,
                "chemical_system": chemical_system,
                "elements_allowed": elements_allowed,
                "elements_excluded": elements_excluded,
                "space_group": space_group,
                "crystal_system": crystal_system,
                "n_atoms": n_atoms,
                "volume_per_atom": volume_per_atom,
            },
            lattice=lattice,
            conditions=conditions,
            hold=hold,
            guidance=guidance,
            seed=seed,
            options=options,
        )
        with bars(progress):
            made = draw(backend, request)
        assert isinstance(made, RepresentationBatch)
        return made

    @checked
    def vary(
        self,
        crystals: CrystalsLike,
        *,
        strength: float = 0.3,
        n: int = 10,
        keep: str | None = None,
        hold: Sequence[str] = (),
        among: CrystalsLike | EncodedSet | str | Path | None = None,
        matcher: MatcherName = "mattergen-ordered",
        seed: int = 0,
        search: str = "default",
        n_workers: int = 1,
        progress: bool = True,
        **options: object,
    ) -> CrystalSet:
        """Make variations of crystals: noise them to a level and denoise them; vectors are inverted on the way.

        Variation j of a crystal is the same whatever `n` and whatever crystals come after it.

        Args:
            crystals: Structures, atoms, crystals, or a set of them, in any cells; they are brought into primitive ones.
            strength: Share of the noise process: near 0 gives the crystals back, at 1 they play no part.
            n: Number of variations of each.
            keep: What variations keep exactly: "protostructure", "composition" or "nothing"; None for what the model is
                conditioned on.
            hold: Parts of the parent's vector to hold, such as ["cell"], while the rest is varied; see
                `docs/how-to/inpainting.md`.
            among: Known crystals to find the nearest of each variation among; see `similar`.
            matcher: What counts as the same structure: "mattergen-ordered", or "mattergen-disordered", for which
                orderings of one alloy are the same.
            seed: Seed of the variations, and of the search.
            search: How hard to invert vectors: "fast", "default", "thorough" or "paper".
            n_workers: Processes that invert vectors.
            progress: Whether to show bars.
            options: Sampling settings of the backend, such as sampler="ddim", steps=50.

        Returns:
            The variations, crystal by crystal, with labels: parent, variation, parent_distance (see `similar`),
            same_as_parent, and with `among` nearest and nearest_distance. `failed` has variations that make no crystal,
            and crystals that cannot be varied.

        Raises:
            UserError: If the model makes no variations, an argument does not fit, or no crystal can be varied.

        Example:
            >>> import repdiff as rd
            >>> from ase.build import bulk
            >>> salts = [bulk(name, "rocksalt", a=5.5) for name in ("NaCl", "KCl", "NaBr")]
            >>> encoded = rd.encode(salts, device="cpu", progress=False)
            >>> model = rd.train(encoded, backend="retrieval", device="cpu", progress=False)
            >>> model.vary(salts[0], strength=0.5)
            Traceback (most recent call last):
            repdiff.errors.UserError: a model of retrieval makes no variations: it has no diffusion...
        """
        return variations(
            self.backend,
            self.backend_name,
            self.path,
            crystals,
            strength=strength,
            n=n,
            keep=keep,
            hold=hold,
            among=among,
            matcher=matcher,
            seed=seed,
            search=search,
            n_workers=n_workers,
            progress=progress,
            options=options,
        )

    def optimize(self, crystals: CrystalsLike, **arguments: Any) -> CrystalSet:  # noqa: ANN401 (those of rd.optimize)
        """Walk crystals towards a goal of the property that a head predicts; see `repdiff.optimize` for the arguments.

        Raises:
            UserError: If model, head and goal do not suit each other, or no crystal can be started from.

        Example:
            >>> import repdiff as rd
            >>> from ase.build import bulk
            >>> encoded = rd.encode([bulk("Cu"), bulk("Fe")], device="cpu", progress=False)
            >>> model = rd.train(encoded, backend="retrieval", device="cpu", progress=False)
            >>> model.optimize(bulk("Cu"), head="nowhere", goal="max")
            Traceback (most recent call last):
            repdiff.errors.UserError: a model of retrieval makes no vectors to steer by, expected a model of ...
        """
        from repdiff.api.optimizing import optimize

        return optimize(self, crystals, **arguments)

    @checked
    def save(self, path: str | Path) -> Path:
        """Copy the weights to a file, which `load_model` reads; it appears whole or not at all.

        Raises:
            UserError: If the disk refuses.

        Example:
            >>> import tempfile
            >>> import repdiff as rd
            >>> from ase.build import bulk
            >>> encoded = rd.encode([bulk("Cu"), bulk("Fe")], device="cpu", progress=False)
            >>> model = rd.train(encoded, backend="retrieval", device="cpu", progress=False)
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     model.save(f"{folder}/metals.safetensors").name
            'metals.safetensors'
        """
        target = home_expanded(path)
        copy_model(self.path, target)
        return target

    def __repr__(self) -> str:
        """Say what it is and where it lies."""
        return f"Model: {self.backend_name}, makes {self.backend.makes} ({self.path})"

    def _with_card(
        self, options: Mapping[str, object], hold: Mapping[str, object] | None
    ) -> dict[str, object]:
        """Add the settings of sampling that the card of a shipped model asks for, but for those that are given."""
        given = {*options, *({"hold"} if hold else ())}
        return sampling_unless(self.path, given) | dict(options)

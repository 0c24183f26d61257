"""What becomes of vectors and crystals: reconstructed, relaxed, evaluated."""

import tempfile
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from repdiff.api.checks import a_count, a_seed, checked
from repdiff.conditions import judge
from repdiff.crystals.convert import as_crystal_set
from repdiff.crystals.crystal_set import CrystalSet
from repdiff.datasets.benchmarks import BENCHMARKS
from repdiff.datasets.compared import choose_compared, read_known, read_together
from repdiff.datasets.dataset import Dataset
from repdiff.datasets.sources import CrystalSets
from repdiff.energies.hull_table import locate_hull
from repdiff.energies.rattle import Rattle
from repdiff.energies.relax import Limits
from repdiff.energies.relax_set import relax_set
from repdiff.energies.relaxed import RelaxedSet
from repdiff.errors import UserError, unknown
from repdiff.execution.jobs import workers_to_use
from repdiff.execution.progress import bars
from repdiff.hardware import choose_device
from repdiff.metrics import Context, Metric
from repdiff.metrics.base import SUBSAMPLE
from repdiff.metrics.baselines import evaluate_set
from repdiff.metrics.evaluation import Evaluation, choose_metrics
from repdiff.metrics.structure_groups import MatcherName
from repdiff.representations.batch import RepresentationBatch
from repdiff.representations.encoded_set import EncodedSet
from repdiff.representations.inversion import invert, named_search
from repdiff.runs.workspace import Workspace
from repdiff.settings.paths import home_expanded

if TYPE_CHECKING:
    from repdiff.crystals.convert import CrystalsLike
else:
    CrystalsLike = object


@checked
def reconstruct(
    representations: RepresentationBatch | EncodedSet,
    *,
    search: str = "default",
    symmetric: bool = True,
    proposals: bool = False,
    seed: int = 0,
    n_workers: int = 1,
    device: str = "auto",
    progress: bool = True,
) -> CrystalSet:
    """Turn representation vectors into crystals.

    Args:
        representations: What `Model.sample_representations` or `encode` returned. The vectors of an encoded set belong
            to true crystals, so that each crystal found gets a confidence.
        search: How hard to search: "fast", "default", "thorough" or "paper".
        symmetric: Whether to keep to the protostructures that come with the vectors, so that only free coordinates are
            sought; otherwise the positions of all atoms are.
        proposals: Whether crystals without a given protostructure get the symmetry that they nearly have, where the
            vector allows it; labels say which, and by how much they were changed.
        seed: Seed of the random starts.
        n_workers: Processes. With more than one, a script must guard its main part by
            `if __name__ == "__main__":`; a notebook need not.
        device: Where to search: auto, cpu, cuda or cuda:N.
        progress: Whether to show a bar.

    Returns:
        The crystals found, with loss, confidence, evaluations and the like as labels, and what was asked of them beside
        what they are; `failed` has the vectors that make none, or none as asked, with the reasons.

    Raises:
        UserError: If the vectors or the search are of the wrong kind, or no vector makes a crystal.

    Example:
        >>> import repdiff as rd
        >>> from ase.build import bulk
        >>> encoded = rd.encode(bulk("Cu"), device="cpu", progress=False)
        >>> found = rd.reconstruct(encoded, search="fast", device="cpu", progress=False)
        >>> found.to_frame()["formula"].tolist()
        ['Cu']
    """
    if not len(representations):
        raise UserError("representations holds nothing, expected at least one vector")
    exact = isinstance(representations, EncodedSet)
    batch = representations.to_batch() if isinstance(representations, EncodedSet) else representations
    with tempfile.TemporaryDirectory() as folder, bars(progress):
        found = invert(
            batch,
            search=named_search(search),
            exact=exact,
            seed=a_seed(seed),
            device=choose_device(device),
            n_workers=a_count("n_workers", n_workers),
            folder=Path(folder),
            symmetric=symmetric,
            proposals=proposals,
            progress=progress,
        ).crystals
        return judge(found, batch.asked, batch.ids, progress=progress).crystals


@checked
def relax(
    crystals: CrystalsLike,
    *,
    force_field: str = "chgnet",
    fmax: float = 0.05,
    max_steps: int = 500,
    max_seconds: float | None = None,
    rattle: float = 0.0,
    seed: int = 0,
    n_workers: int = 1,
    device: str = "auto",
    progress: bool = True,
) -> RelaxedSet:
    """Relax positions and cells of crystals in a force field.

    Args:
        crystals: Structures, atoms, crystals, or a set of them.
        force_field: "chgnet" or "sevennet" (`pip install repdiff[relax]`), or one of a plugin.
        fmax: Largest force of a relaxed crystal, those on the cell included, eV/Å.
        max_steps: Largest number of steps for a crystal.
        max_seconds: Seconds of processor time that a crystal may take, its share of that of its batch; what reaches the
            limit keeps its last geometry, and its label relax_stopped says so. None for no limit.
        rattle: Standard deviation of normal displacements of the atoms before relaxation, Å.
        seed: Seed of the displacements.
        n_workers: Processes on a CPU.
        device: Where to compute: auto, cpu, cuda or cuda:N.
        progress: Whether to show a bar.

    Returns:
        The relaxed crystals with energies (eV per atom) and displacements (Å); `failed` has those without a result.

    Raises:
        UserError: If something is no crystal, or the force field is unknown or not installed.

    Example:
        >>> import repdiff as rd
        >>> from ase.build import bulk
        >>> relaxed = rd.relax(bulk("Cu", a=3.5), device="cpu", progress=False)
        >>> bool(relaxed.to_frame()["converged"].all())
        True
        >>> rd.relax(bulk("Cu"), force_field="chgnett", device="cpu")
        Traceback (most recent call last):
        repdiff.errors.UserError: unknown force field 'chgnett'; known: chgnet, sevennet... Did you mean 'chgnet'?
    """
    given = as_crystal_set(crystals)
    if not fmax > 0:
        raise UserError(f"fmax is {fmax}, expected a positive force, eV/Å")
    if max_seconds is not None and not max_seconds > 0:
        raise UserError(f"max_seconds is {max_seconds}, expected a positive time, or None for no limit")
    if not rattle >= 0:
        raise UserError(f"rattle is {rattle}, expected a length, Å, or 0 for none")
    steps = a_count("max_steps", max_steps, least=0)
    with tempfile.TemporaryDirectory() as folder, bars(progress):
        return relax_set(
            given,
            force_field=force_field,
            limits=Limits(fmax=fmax, max_steps=steps or 0, max_seconds=max_seconds),
            rattle=Rattle(width=rattle, seed=a_seed(seed)),
            device=choose_device(device),
            folder=Path(folder),
            n_workers=a_count("n_workers", n_workers),
            progress=progress,
        )


@checked
def evaluate(
    crystals: CrystalsLike,
    reference: CrystalsLike | str | Path | None = None,
    *,
    training: CrystalsLike | str | Path | None = None,
    novelty: CrystalsLike | str | Path | None = None,
    matcher: MatcherName = "mattergen-ordered",
    relaxed: RelaxedSet | None = None,
    hull: str | Path | None = None,
    metrics: str | Metric | Collection[str | Metric] | None = None,
    baseline: bool | None = None,
    benchmark: str | None = None,
    subsample: int = SUBSAMPLE,
    seed: int = 0,
    n_workers: int = 1,
    progress: bool = True,
) -> Evaluation:
    """Score crystals by the registered metrics: validity, coverage, distributions, uniqueness and more.

    Args:
        crystals: Structures, atoms, crystals, or a set of them; what failed in a set counts in every share.
        reference: Known crystals to compare with: of the same kinds, or the name of a data set or NAME:SPLIT.
        training: Crystals that the model was trained on, for novelty; the training split of a named reference
            without it.
        novelty: Crystals that count as known in S.U.N., of the kinds that `reference` takes; a text may name several
            sets, separated by commas. None takes what `training` and `reference` hold, of a named data set all
            splits.
        matcher: What counts as the same crystal, for uniqueness and novelty: "mattergen-ordered", or
            "mattergen-disordered", for which orderings of one alloy are the same.
        relaxed: What `relax` made of the same crystals, for stability.
        hull: Table of reference energies, eV per atom: what `repdiff hull build` made, by its path or name, or a
            shipped table, "mp_le20" or "mp_20". None takes the largest shipped one of the force field that relaxed.
        metrics: Names of metrics, or metrics with settings of their own; None for all that can be computed.
        baseline: Whether to score as many real crystals under the same metrics, beside the others; None does where
            `reference` holds at least two.
        benchmark: Benchmark that has the published thresholds to use: "perov_5", "carbon_24" or "mp_20"; None takes
            that of a named reference.
        subsample: Score coverage, Fréchet distance and rediscovery of a larger set by as many of its structures, chosen
            at random; 0 for all.
        seed: Seed of random subsets and intervals.
        n_workers: Processes to use where it helps.
        progress: Whether to show bars.

    Raises:
        UserError: If something is no crystal, a metric is unknown, or one that was named lacks what it needs.

    Example:
        >>> import repdiff as rd
        >>> from ase.build import bulk
        >>> found = rd.evaluate([bulk("Cu"), bulk("NaCl", "rocksalt", a=5.64)], metrics=["validity"], progress=False)
        >>> float(found.to_frame().loc["validity.structure_valid", "value"])
        1.0
    """
    chosen = [metrics] if isinstance(metrics, str | Metric) else metrics if metrics is None else list(metrics)
    choose_metrics(chosen)
    if benchmark not in (None, *BENCHMARKS):
        raise UserError(unknown("benchmark", str(benchmark), BENCHMARKS))
    if matcher not in get_args(MatcherName):
        raise UserError(unknown("matcher", str(matcher), get_args(MatcherName)))
    workspace = Workspace()
    sets = CrystalSets(data_dir=None, workspace=workspace)
    generated = as_crystal_set(crystals)
    compared = choose_compared(
        sets,
        reference=_known(reference, "reference"),
        training=_known(training, "training"),
        novelty=_known(novelty, "novelty"),
        benchmark=benchmark,
        stability=relaxed is not None,
    )
    context = Context(
        reference=read_known(compared.reference, sets),
        training=read_known(compared.training, sets),
        known_set=read_together(compared.novelty, sets),
        matcher=matcher,
        relaxed=relaxed,
        hull=locate_hull(None if hull is None else home_expanded(hull), workspace),
        benchmark=compared.thresholds,
        subsample=a_count("subsample", subsample, least=0) or 0,
        seed=a_seed(seed),
        n_workers=workers_to_use(a_count("n_workers", n_workers), 1),
        progress=progress,
    )
    with bars(progress):
        return evaluate_set(generated, context, metrics=chosen, baseline=baseline, notes=sets.notes)


def _known(crystals: CrystalsLike | str | Path | None, what: str) -> str | CrystalSet | None:
    if crystals is None:
        return None
    if isinstance(crystals, str | Path):
        return str(crystals)
    given = as_crystal_set(crystals, what=what)
    unread = Counter(given.refused) + Counter(given.failed.values())
    name = given.name or (crystals.part_name if isinstance(crystals, Dataset) else f"the crystals of {what}")
    return CrystalSet(
        crystals=given.crystals, refused=dict(unread.most_common()), name=name, encoded=given.encoded
    )

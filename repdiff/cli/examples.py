"""Examples of every command, shown at the end of its help and on its page of the documents."""

KEPT_LINES = "\b\n"  # tells click to leave the lines of a paragraph as they are
EXAMPLES: dict[str, tuple[tuple[str, str], ...]] = {
    "download": (("download perov_5", "a benchmark data set, into the workspace"),),
    "encode": (
        ("encode prototypes", "the built-in crystals"),
        ("encode my_cifs --max-atoms 20", "a folder of CIF files, small cells only"),
        ("encode mp_20 --data-dir data", "a benchmark data set that is in a folder of yours"),
    ),
    "train": (
        ("train --max-minutes 4", "on the newest encoded set"),
        ("train --backend gemsdiff --max-minutes 20", "another system"),
        ("train --config perov5_cpu", "by a shipped config"),
    ),
    "finetune": (
        ("finetune --property band_gap", "a label of the data set"),
        ("finetune --property my_gap --labels my.csv", "labels of your own, by id"),
    ),
    "rank": (("rank mp_20 --by e_above_hull", "a label that shall be low"),),
    "head": (("head fit mp_20 --property band_gap", "a head that predicts the band gap"),),
    "sample": (
        (
            "sample --chemical-system Li-Fe-O --n 20 --open",
            "by the model of MP-20, with a page in the browser",
        ),
        ("sample --model perov_5 --n 20", "by another model of the package"),
    ),
    "generate": (
        ("generate --model mp_20 --n 100", "from a model of the package"),
        ("generate --n 100", "from the newest model"),
        ("generate --chemical-system Li-Fe-O --n-atoms 5-12", "of given elements and sizes"),
        ("generate --composition SrTiO3 --space-group 221", "of a given formula and space group"),
    ),
    "vary": (("vary structures.cif --strength 0.3 --n 50", "50 crystals like each of a file"),),
    "optimize": (
        ("optimize --property band_gap --goal 1.5 --start structures.cif", "towards a gap of 1.5 eV"),
    ),
    "latents": (
        (
            "latents reconstruct structures.cif",
            "what becomes of crystals on the way through the latent space",
        ),
    ),
    "reconstruct": (
        ("reconstruct", "the newest generated vectors"),
        ("reconstruct --dataset mp_20:test --n 100", "true vectors, to see how well that works"),
    ),
    "similar": (("similar structures.cif --among mp_20", "the nearest known crystals"),),
    "relax": (("relax --force-field chgnet", "the newest crystals"),),
    "hull": (("hull build prototypes --force-field chgnet", "reference energies of a data set"),),
    "phases": (("phases Li-Fe-O --n 300 --max-minutes 20", "of a ternary system"),),
    "evaluate": (
        ("evaluate --reference prototypes:test", "the newest crystals"),
        ("evaluate samples.zip --reference mp_20:test", "crystals made by any program"),
    ),
    "export": (
        ("export --lemat", "the newest crystals, for LeMat-GenBench"),
        ("export samples.zip --mattergen", "for MatterGen's evaluator"),
    ),
    "compare": (
        ("compare compare_perov5_cpu", "train and judge several systems alike"),
        ("compare EVALUATION EVALUATION", "put finished evaluations side by side"),
    ),
    "report": (
        ("report --png plots", "the newest evaluation, with an image of each plot"),
        ("report --all", "a page for every evaluation, and one that compares them"),
    ),
    "degeneracy": (("degeneracy prototypes", "pairs of crystals that a descriptor confuses"),),
    "models": (
        ("models", "names, and what each was trained on"),
        ("models mp_20", "the card of one: data, training, figures, weaknesses"),
    ),
    "backends": (("backends", "names, and what each system honours"),),
    "info": (("info repdiff-workspace", "what lies in a workspace"),),
}
"""Of each command, what to type after `repdiff`, and what it does."""


def examples_text(verb: str) -> str:
    """Write the examples of a command as the last lines of its help.

    Args:
        verb: One of `EXAMPLES`.

    Example:
        >>> examples_text("backends").splitlines()[2]
        '  repdiff backends  # names, and what each system honours'
    """
    width = max(len(words) for words, _ in EXAMPLES[verb])
    lines = [f"  repdiff {words:{width}}  # {meaning}" for words, meaning in EXAMPLES[verb]]
    return "\n".join([f"{KEPT_LINES}Examples:", *lines])

"""The page of the models that come with the package, from their cards."""

from repdiff.runs.shipped_models import shipped_models


def pages() -> dict[str, str]:
    """Write the page, by its path."""
    cards = shipped_models().values()
    rows = [f"| [`{one.name}`](#{one.name}) | `{one.backend}` | {one.summary} |" for one in cards]
    return {
        "reference/models.md": "\n".join(
            [
                "# Models of the package",
                "",
                "Trained weights come with repdiff and are loaded by name, offline: `repdiff sample --model mp_20 "
                '--chemical-system Li-Fe-O`, `rd.load_model("mp_20")`. Large ones are packed in eight bits a weight; '
                "all figures are of the packed weights. Samples are drawn by the settings of the "
                "card unless you give others.",
                "",
                "| model | system | what it makes |",
                "|---|---|---|",
                *rows,
                "",
                *(f"{one.text()}\n" for one in cards),
            ]
        )
    }

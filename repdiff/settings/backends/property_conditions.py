"""What samples can be asked for by models that were taught properties of crystals."""

from repdiff.settings.base import Options, setting


class PropertyConditions(Options):
    """How strongly properties are asked for."""

    guidance: float | None = setting(
        None,
        "Guidance scale with conditions: 0 ignores them, 1 (default) is as trained, above 1 exaggerates them",
    )

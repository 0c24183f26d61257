"""Temperatures of what is drawn step by step: one of everything, and one of the elements alone."""

from repdiff.errors import UserError


def positive_temperatures(temperature: float, element_temperature: float | None) -> tuple[float, float]:
    """Return both temperatures, that of the elements as the other where none is given.

    >>> positive_temperatures(0.8, None)
    (0.8, 0.8)

    Raises:
        UserError: If one is not positive.
    """
    both = (temperature, temperature if element_temperature is None else element_temperature)
    for name, value in zip(("temperature", "element_temperature"), both, strict=True):
        if not value > 0:
            raise UserError(f"{name} is {value}, expected a positive number: 1 samples as trained")
    return both

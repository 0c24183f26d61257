"""Size of the equivariant network of crystals, which several backends share."""

from pydantic import model_validator

from repdiff.settings.base import Options, setting


class CrystalNetworkSettings(Options):
    """Size and reach of the crystal network."""

    width: int = setting(
        64, "Number of scalar channels, and of vector channels, per atom", group="model", ge=4
    )
    n_blocks: int = setting(3, "Number of message-passing blocks", group="model", ge=1)
    n_neighbors: int = setting(32, "Number of atoms within the cutoff at mean density", group="model", ge=1)
    max_neighbors: int = setting(
        64, "Largest number of neighbours of an atom, where atoms are crowded", group="model", ge=1
    )
    n_radial: int = setting(16, "Number of radial basis functions", group="model", ge=4)
    shortest: float = setting(0.3, "Centre of the first radial basis function, Å", group="model", gt=0)
    longest: float = setting(8.0, "Centre of the last radial basis function, Å", group="model", gt=0)
    n_species: int = setting(
        119, "Number of atom types: atomic numbers, 0 for a masked atom", group="model", ge=1
    )
    time_width: int = setting(
        64, "Number of channels of the time embedding", group="model", ge=4, multiple_of=2
    )
    atom_width: int = setting(
        0, "Number of further input channels per atom, 0 for none", group="model", only_in_file=True, ge=0
    )
    condition_width: int = setting(
        0, "Number of channels of the conditioning vector, 0 for none", group="model", only_in_file=True, ge=0
    )

    @model_validator(mode="after")
    def _check_reach(self) -> "CrystalNetworkSettings":
        if self.longest <= self.shortest:
            raise ValueError(f"longest is {self.longest} Å, expected more than shortest ({self.shortest} Å)")
        return self

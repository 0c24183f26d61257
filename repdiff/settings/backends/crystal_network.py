"""Size of the equivariant network of crystals, which several backends share."""

from pydantic import model_validator

from repdiff.settings.base import Options, setting


class CrystalNetworkSettings(Options):
    """Size and reach of the crystal network."""

    width: int = setting(64, "Scalar channels, and vector channels, of an atom", group="model", ge=4)
    n_blocks: int = setting(3, "Message-passing blocks", group="model", ge=1)
    n_neighbors: int = setting(32, "Atoms in the sphere of the cutoff, at mean density", group="model", ge=1)
    max_neighbors: int = setting(64, "Most neighbours of an atom, where atoms gather", group="model", ge=1)
    n_radial: int = setting(16, "Functions of the distance", group="model", ge=4)
    shortest: float = setting(0.3, "Distance of the first radial function, Å", group="model", gt=0)
    longest: float = setting(8.0, "Distance of the last radial function, Å", group="model", gt=0)
    n_species: int = setting(119, "Kinds of atoms: atomic numbers, 0 for a masked atom", group="model", ge=1)
    time_width: int = setting(64, "Channels of the time embedding", group="model", ge=4, multiple_of=2)
    atom_width: int = setting(
        0, "Further input channels of each atom, 0 for none", group="model", only_in_file=True, ge=0
    )
    condition_width: int = setting(
        0, "Channels of the conditioning vector, 0 for none", group="model", only_in_file=True, ge=0
    )

    @model_validator(mode="after")
    def _check_reach(self) -> "CrystalNetworkSettings":
        if self.longest <= self.shortest:
            raise ValueError(f"longest is {self.longest} Å, expected more than shortest ({self.shortest} Å)")
        return self

"""Space groups, Wyckoff positions, protostructures, and the crystals that belong to them."""

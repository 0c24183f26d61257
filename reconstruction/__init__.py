"""Vector → crystal: integer formulas, valid cells, and basin-hopping inversion of descriptors."""

"""Variational autoencoder of crystals with diffusion of the coordinates (DP-CDVAE, CDVAE)."""

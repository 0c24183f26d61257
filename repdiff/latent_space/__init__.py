"""What `repdiff latents` reads, writes and fits."""

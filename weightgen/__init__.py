"""weightgen: denoised neural weights for image translation (arXiv 2407.11966), compared honestly."""

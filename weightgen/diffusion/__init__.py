"""The weight generator's diffusion half: denoisers over weight blocks, their training, and one-step
sampling."""

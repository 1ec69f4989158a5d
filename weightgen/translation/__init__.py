"""Image translators: their nets, LoRA and training."""

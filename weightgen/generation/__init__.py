"""From a prompt to a translator: the weight generator, training through the frozen base, refinement."""

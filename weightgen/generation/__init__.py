"""From a prompt to a translator: the weight generator, training through the frozen base, refinement."""

from weightgen.choices import Choices

REFINERS = Choices("refiner", {"guided": "weightgen.generation.guided:GuidedRefiner"})

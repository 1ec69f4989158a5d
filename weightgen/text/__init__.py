"""Prompts as features."""

from weightgen.choices import Choices

TEXT_ENCODERS = Choices(
    "text_encoder",
    {
        "minilm": "weightgen.text.encoders:MiniLMTextEncoder",
        "open_clip": "weightgen.text.open_clip:OpenClipTextEncoder",
    },
)

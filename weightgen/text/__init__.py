"""Text encoders: prompts become tokens, a mask and a pooled vector."""

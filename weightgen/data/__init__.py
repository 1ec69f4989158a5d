"""Concepts (what to draw), photos (what to draw on) and editors (who draws)."""

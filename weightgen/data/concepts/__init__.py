"""Concepts: where prompts and their splits come from."""

"""Editors that are diffusion models."""

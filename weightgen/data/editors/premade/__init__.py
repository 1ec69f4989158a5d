"""Pairs that exist already, as folders or data sets."""

"""Fitting one module inside an artifact folder."""

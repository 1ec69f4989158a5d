"""Measuring translators honestly: image scores, results tables, rivals, novelty, cost and figures."""

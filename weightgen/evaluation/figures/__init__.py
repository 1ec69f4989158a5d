"""Pictures of a comparison: curves over seconds, charts, contact sheets."""

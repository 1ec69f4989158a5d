"""Jobs of launchers, studies and searches."""

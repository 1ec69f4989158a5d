"""Photos: where they come from, how they are read and cut."""

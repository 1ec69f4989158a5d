"""Where a new concept's weights may start."""

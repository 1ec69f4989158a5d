"""What several test modules share. A package, because processes that tests start import parts of it by name."""

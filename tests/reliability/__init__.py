"""What must not go wrong, tried many times: `make test-reliability` (minutes, opt-in)."""

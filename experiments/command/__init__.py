"""What every app shares: its entry point, the check of its options, its errors."""

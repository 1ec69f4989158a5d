"""What every artifact is called, and building what is missing."""

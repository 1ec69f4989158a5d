"""What `make bench` measures: one file per family of rows, each a generator of contests for the runner."""

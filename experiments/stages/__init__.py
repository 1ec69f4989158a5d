"""One file a stage: what its key is made of and what builds it."""

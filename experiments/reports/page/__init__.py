"""One comparison shown in three places: a page on disk, W&B runs, a W&B report."""

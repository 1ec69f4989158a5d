"""The verbs: one thin Hydra app a stage, over the stage graph of `pipeline`."""

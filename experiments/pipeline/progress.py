"""What a run says of what it does."""

from weightgen.artifacts import Spec, Store


def ended(store: Store, spec: Spec) -> str:
    """What a stage ends with: its numbers, and where its artifact lies."""
    metrics = store.metrics(spec)
    numbers = {name: value for name, value in metrics.items() if isinstance(value, int | float)}
    told = ", ".join(f"{name} {value:.4g}" for name, value in numbers.items())
    return f"{spec.label}: {told} -> {store.path(spec)}"

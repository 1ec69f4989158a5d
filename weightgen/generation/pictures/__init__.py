"""Pictures of any kind and size, as translators and weight generators look at them."""

"""Many LoRAs of one base trained at once."""

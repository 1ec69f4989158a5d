"""LoRA weights as data: blocks, their normaliser, the zoo of trained sets and its batches."""

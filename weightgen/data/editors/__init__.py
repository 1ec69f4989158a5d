"""Editors: `edit(images, concept)` turns photos into the targets a translator learns (paper, step 2)."""

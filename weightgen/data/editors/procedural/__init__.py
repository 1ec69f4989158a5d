"""The procedural editor: exact image edits by media and palettes."""

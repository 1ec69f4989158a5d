"""The neural editor: real style transfer by a small network, offline."""

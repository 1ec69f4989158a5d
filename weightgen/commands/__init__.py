"""What `weightgen` on the command line does, a module a command; `parser` alone is read to show the help."""

"""One file = one plugin; see docs/how_to_add.md."""

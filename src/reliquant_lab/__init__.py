"""Data only: the four trained models of reliquant's lab. `reliquant` reads them, after a check of their sha256."""

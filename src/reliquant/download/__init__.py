"""Published files, fetched, checked against their sha256 and pinned."""

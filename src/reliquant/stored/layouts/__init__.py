"""One module for each layout of a table: a path in, its columns by their own names out."""

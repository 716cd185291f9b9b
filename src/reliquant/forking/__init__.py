"""One process that has imported the heavy packages runs the short steps of a study, a forked child for each."""

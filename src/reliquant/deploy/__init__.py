"""From a variant to the file that runs: exported, opened in other runtimes, timed."""

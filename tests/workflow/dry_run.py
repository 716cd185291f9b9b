"""What a dry run of Snakemake prints."""

import itertools


def job_counts(output):
    """Read the table of jobs: rule -> count."""
    lines = output.splitlines()
    start = next((i for i, line in enumerate(lines) if line.split() == ["job", "count"]), len(lines))
    table = (line.split() for line in itertools.takewhile(str.strip, lines[start + 2 :]))
    return {rule: int(count) for rule, count in table if rule != "total"}

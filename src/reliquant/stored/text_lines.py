"""Where a text table is not one: the line, and what is wrong there, which polars does not say."""

from __future__ import annotations

import csv
import re
from pathlib import Path

from reliquant.images.listed import separator_of

NO_NUMBER = re.compile(r"could not parse `(.*)` as dtype `\w+` at column '(.*)' \(column number (\d+)\)", re.S)


def wrong_line(path: Path, error: str, /) -> str:
    """Say which line of a text table made polars raise an error; the error's own words where that is not found.

    It is the first that holds the word that is no number, or else the first that has more fields than the header.
    """
    match = NO_NUMBER.match(error)
    try:
        with open(path, encoding="utf-8-sig", errors="replace", newline="") as file:
            reader = csv.reader(file, delimiter=separator_of(path))
            head = next(reader)
            for fields in reader:
                if match:
                    place = int(match[3]) - 1
                    if place < len(fields) and fields[place] == match[1]:
                        return (
                            f"{match[1]!r} in line {reader.line_num} is no number, unlike others of {match[2].strip()}"
                        )
                elif len(fields) > len(head):
                    return f"line {reader.line_num} has {len(fields):,} fields, and the header {len(head):,}"
    except (OSError, ValueError, csv.Error, StopIteration):
        pass
    return f"truncated, damaged or no text table ({error})"

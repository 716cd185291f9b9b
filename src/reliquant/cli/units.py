"""Times, sizes and numbers of things as people say them."""

from __future__ import annotations


def time_in_words(hours: float, /) -> str:
    """Write a time as people say it, in its two largest units.

    >>> time_in_words(30.55), time_in_words(1.5), time_in_words(0.2), time_in_words(0.001)
    ('1 day 7 hours', '1 hour 30 minutes', '12 minutes', 'under a minute')
    """
    minutes = round(hours * 60)
    if minutes >= 24 * 60:
        days, left = divmod(round(hours), 24)
        units = {"day": days, "hour": left}
    else:
        units = {"hour": minutes // 60, "minute": minutes % 60}
    said = [counted(count, unit) for unit, count in units.items() if count]
    return " ".join(said) or "under a minute"


def size_in_words(size: float, /) -> str:
    """Write so many bytes in the largest unit of which there is one.

    >>> size_in_words(0), size_in_words(3 * 2**20), size_in_words(2600 * 2**30)
    ('nothing', '3.0 MiB', '2,600.0 GiB')
    """
    for unit, power in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if size >= 2**power:
            return f"{size / 2**power:,.1f} {unit}"
    return f"{size:,.0f} bytes" if size else "nothing"


def counted(count: int, of: str, /) -> str:
    """Write how many of something there are.

    >>> counted(1, "image"), counted(1200, "image")
    ('1 image', '1,200 images')
    """
    return f"{count:,} {of}{'s' * (count != 1)}"

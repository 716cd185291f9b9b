"""What a person sees of a command on stderr: how far it is, what it assumed, and an error as one line."""

from __future__ import annotations

import errno
import faulthandler
import os
import signal
import sys
import threading
import time
import traceback
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
DEBUG = "RELIQUANT_DEBUG"  # an environment variable: anything but empty asks for tracebacks
OURS = (ValueError, OSError, ArithmeticError)  # messages of these are written for people
LONGEST = 1500  # characters of a message; what libraries add to theirs may fill pages


AGAIN = "run the same again: what is done is kept"
ROOM = "make room, then " + AGAIN
FEWER = "use a smaller batch, fewer jobs at once, or a machine with more"
RIGHTS = "change the rights of the file or folder, or name another place"
ADVICE = {  # by what the system says
    **{errno.ENOSPC: ROOM, errno.EDQUOT: ROOM, errno.ENOMEM: FEWER, errno.EACCES: RIGHTS, errno.EPERM: RIGHTS},
    errno.EFBIG: "a limit of this system (ulimit -f) or of its disk: raise it, then " + AGAIN,
    errno.EROFS: "nothing can be written there: name another place",
    errno.EIO: "the disk or its network fails: see to it, then " + AGAIN,
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), "raise the limit (ulimit -n 4096), or use fewer processes"),
}
NO_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory", "OutOfMemory")  # of torch and CUDA
UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")  # characters that steer a terminal or turn the reading order


class Stopped(SystemExit):
    """Somebody asked the process to end (SIGTERM)."""


def printable(text: str, /) -> str:
    r"""Return a text whose characters all show: those that steer a terminal are escaped, line ends and tabs stay.

    >>> printable("a\x1b[2Jb")
    'a\\x1b[2Jb'
    """
    if text.isprintable():
        return text
    return "".join(c if c in "\n\t" or unicodedata.category(c) not in UNSEEN else ascii(c)[1:-1] for c in text)


def say(about: str, line: str, /) -> None:
    """Say on stderr, a terminal or a log, what was assumed or passed over on the way to a result."""
    print(printable(f"{about}: {line}".replace("\n", " ")), file=sys.stderr, flush=True)


def progress(items: Iterable[Item], /, *, label: str, total: int | None = None, every: float = 60.0) -> Iterator[Item]:
    """Yield the items and report how far we are on stderr: a bar on a terminal, else one line every `every` seconds."""
    label = printable(label)
    if total is None and hasattr(items, "__len__"):
        total = len(items)  # type: ignore[arg-type]
    if sys.stderr.isatty():
        yield from tqdm(items, desc=label, total=total)
        return
    start = said = time.monotonic()
    for done, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - said >= every:
            said = now
            left = f", {(now - start) / done * (total - done):.0f} s left" if total else ""
            print(f"{label}: {done}/{total or '?'} in {now - start:.0f} s{left}", file=sys.stderr, flush=True)


@contextmanager
def one_line_errors(command: str = "", /, *, debug: bool = False, code: int = 1, last: bool = False) -> Iterator[None]:
    """End the process with `<command>: error: <message>` and exit code 1 when the block raises, but not on `debug`.

    Where 1 is an answer, `code` is another one, which a traceback on `debug` ends with, too. With `last` the block is
    the last that the process does: once it is done, a signal no longer makes a failure of it.

    An error that none of our own checks foresaw, of a library or a fault of ours, says its type too, and how to see
    more. Where a library kills the process, as polars does when no more memory can be had, lines say in which call of
    ours. Ctrl-C ends with exit code 130 and SIGTERM, of Slurm or `kill`, with 143: what is half written is deleted,
    and one line says so. An exit passes.
    """
    start = f"{command}: " if command else ""
    if not faulthandler.is_enabled():
        faulthandler.enable(file=sys.__stderr__ or 2)
    try:
        with _stoppable(signal.SIG_IGN if last else signal.SIG_DFL):
            yield
    except Stopped:
        say(f"{start}stopped", f"SIGTERM; {AGAIN}")
        raise
    except BaseException as error:
        panic = type(error).__name__ == "PanicException"  # polars' own, no Exception
        if debug or os.environ.get(DEBUG) or not (panic or isinstance(error, Exception | KeyboardInterrupt)):
            if code == 1 or not isinstance(error, Exception):
                raise
            traceback.print_exc()
            sys.exit(code)
        if isinstance(error, KeyboardInterrupt):
            say(f"{start}stopped", f"Ctrl-C; {AGAIN}")
            sys.exit(128 + signal.SIGINT)
        told = f"{start}error: {message_of(error)}"
        if code == 1:
            sys.exit(told)
        print(told, file=sys.stderr, flush=True)
        sys.exit(code)


@contextmanager
def _stoppable(afterwards: signal.Handlers, /) -> Iterator[None]:
    """Raise Stopped in the block on SIGTERM; a second one ends the process at once, and so does one in a fork.

    `afterwards` is how SIGTERM is taken once the block is done.
    """
    own = os.getpid()

    def stop(number: int, _: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        if os.getpid() != own:
            os.kill(os.getpid(), number)
        raise Stopped(128 + number)

    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except BaseException:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        raise
    signal.signal(signal.SIGTERM, afterwards)


def message_of(error: BaseException, /) -> str:
    """Return an error as people read it: on one line, and not longer than a screen; a config's problems, a line each.

    >>> message_of(KeyError("c"))
    "KeyError: 'c' (--debug, or RELIQUANT_DEBUG=1, shows where)"
    """
    known = _of_system(error)
    lines = [known] if known else getattr(error, "problems", None) or [str(error)]
    text = "\n".join(printable(" ".join(str(line).split())) for line in lines)
    if len(text) > LONGEST:
        text = f"{text[:LONGEST]} ... ({len(text)} characters)"
    if known or isinstance(error, OURS):
        return text
    return f"{type(error).__name__}: {text} (--debug, or {DEBUG}=1, shows where)"


def _of_system(error: BaseException) -> str:
    """Say what the system lacks and what to do, with the path; nothing where an error is about something else."""
    number = getattr(error, "errno", None)
    if isinstance(error, OSError) and number in ADVICE:
        about = f"{error.filename}: {os.strerror(number)}" if error.filename is not None else str(error)
        return f"{about}; {ADVICE[number]}"
    told = f"{type(error).__name__}: {error}"
    if isinstance(error, MemoryError) or any(words in told for words in NO_MEMORY):
        return f"not enough memory ({str(error)[:300] or 'no more can be had'}); {FEWER}"
    if type(error).__name__ == "BrokenProcessPool":
        return f"a worker process was killed, most often because memory ran out; {FEWER}"
    return ""

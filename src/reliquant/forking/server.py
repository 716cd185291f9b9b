"""Import the heavy packages once, then fork a child for each step that is asked for (`client.py` asks).

    python -m reliquant.forking.server LISTENING-DESCRIPTOR OWNER FOLDER

Of this package nothing is kept: a child imports it anew, so that a step always runs the code as it is. A process may
be forked safely while it has one thread, so a server that has more says no to everybody (polars starts threads when
it is imported: each child imports it itself). It ends with its owner, when the steps that it runs are over.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import sys
import threading
import traceback
import weakref
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from reliquant.forking.client import OWNER, STARTED, peer
from reliquant.forking.workers import end_with_parent

IMPORTED = ("numpy", "yaml", "pydantic.dataclasses", "pydantic.main", "scipy.ndimage", "scipy.optimize", "scipy.stats")
IMPORTED += ("PIL.Image", "safetensors.numpy", "safetensors.torch", "torch", "tqdm")
IMPORTED += ("reliquant.models.openclip", "torch._dynamo")  # open_clip, timm, torchvision; the optimizers' dynamo
PATIENCE = 10  # seconds in which a client must have said what it wants
_kept: list[ModuleType] = []  # openclip.py declares operators of torchvision for as long as it lives


class Job:
    """A child: its process id, its client's connection, and a descriptor that tells its end."""

    def __init__(self, pid: int, connection: socket.socket) -> None:
        self.pid, self.connection, self.ended = pid, connection, os.pidfd_open(pid)

    def signal(self, number: int) -> None:
        """Send a signal to the child and to what it started."""
        for send in (os.killpg, os.kill):
            with suppress(ProcessLookupError):
                send(self.pid, number)
                return


class Server:
    """Forks a child for each request, and tells each client how its child ended, until the owner is gone."""

    def __init__(self, listening: socket.socket, owner: int, forks: bool) -> None:
        self.listening, self.forks = listening, forks
        self.selector = selectors.PollSelector()
        self.owner = os.pidfd_open(owner)
        self.selector.register(listening, selectors.EVENT_READ, self.answer)
        self.selector.register(self.owner, selectors.EVENT_READ, self.retire)

    def serve(self) -> None:
        """Answer until the owner and all children have ended."""
        while self.selector.get_map():
            for key, _ in self.selector.select():
                if key.fileobj in self.selector.get_map():  # what came before may have ended it
                    key.data()

    def retire(self) -> None:
        """Take no more requests."""
        self.selector.unregister(self.listening)
        self.selector.unregister(self.owner)
        self.listening.close()
        os.close(self.owner)

    def close(self) -> None:
        """Close all descriptors, in a child."""
        for key in self.selector.get_map().values():
            os.close(key.fileobj) if isinstance(key.fileobj, int) else key.fileobj.close()

    def answer(self) -> None:
        """Fork a child for a new client, or close the connection, whereupon the client runs the step itself."""
        connection, _ = self.listening.accept()
        try:
            if not self.forks or peer(connection) != os.getuid():
                raise OSError("nobody is answered")
            connection.settimeout(PATIENCE)
            request, streams = received(connection)
            connection.settimeout(None)
            pid = os.fork()
        except (OSError, ValueError):
            connection.close()
            return
        if not pid:
            connection.close()
            self.close()
            become(request, streams)
        for stream in streams:
            os.close(stream)
        job = Job(pid, connection)
        self.selector.register(connection, selectors.EVENT_READ, lambda: self.told(job))
        self.selector.register(job.ended, selectors.EVENT_READ, lambda: self.over(job))
        with suppress(OSError):
            connection.sendall(STARTED)

    def told(self, job: Job) -> None:
        """Pass a client's signals on; a client that is gone takes its child along."""
        try:
            numbers = job.connection.recv(16)
        except OSError:
            numbers = b""
        for number in numbers:
            job.signal(number)
        if not numbers:
            self.selector.unregister(job.connection)
            job.signal(signal.SIGKILL)

    def over(self, job: Job) -> None:
        """Tell a client how its child ended."""
        code = os.waitstatus_to_exitcode(os.waitpid(job.pid, 0)[1])
        if job.connection in self.selector.get_map():
            self.selector.unregister(job.connection)
            with suppress(OSError):
                job.connection.sendall(code.to_bytes(2, "big", signed=True))
        self.selector.unregister(job.ended)
        os.close(job.ended)
        job.connection.close()


def received(connection: socket.socket, /) -> tuple[dict[str, Any], list[int]]:
    """Read a request, {module, words} as JSON after its length in four bytes, and the client's three streams."""
    start, streams, _, _ = socket.recv_fds(connection, 4, 3)
    body = b""
    size = int.from_bytes(start, "big")
    while len(body) < size and (more := connection.recv(size - len(body))):
        body += more
    if len(start) < 4 or len(streams) < 3 or len(body) < size:
        for stream in streams:
            os.close(stream)
        raise OSError("a client ended before it had said what it wants")
    return json.loads(body), streams


def become(request: dict[str, Any], streams: list[int], /) -> NoReturn:
    """Run a step in this process, a child, as `python -m` would, and end."""
    os.setsid()
    end_with_parent()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    forget()
    sys.argv = ["-m", *request["words"]]
    try:
        runpy.run_module(request["module"], run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as stop:
        code = exit_code(stop)
    except BaseException:
        traceback.print_exc()
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads; multiprocessing ends its children so, too
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # the interpreter would first take apart all that the server has imported: a second


def forget() -> None:
    """Drop this package's modules: they are imported anew, from the files as they are now."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "reliquant"]:
        del sys.modules[name]


def exit_code(stop: SystemExit, /) -> int:
    """Return what the interpreter makes of an exit: a word is said, and the code is 1."""
    if stop.code is None or isinstance(stop.code, int):
        return (stop.code or 0) & 0xFF
    print(stop.code, file=sys.stderr)
    return 1


def imported() -> bool:
    """Import the packages; return whether this process may be forked then."""
    try:
        for name in IMPORTED:
            _kept.append(importlib.import_module(name))
    except Exception:  # a step that needs the package will say what is wrong with it
        return False
    gc.collect()
    leave_alone()
    return len(os.listdir("/proc/self/task")) == 1


def leave_alone() -> None:
    """Let children neither search for garbage nor finalize, when they end, what there is in this process.

    Both would have them copy its memory, and what this process made is not theirs to take apart. Nor does this process
    finalize it: its end frees all of it.
    """
    gc.freeze()
    for finalizer in list(getattr(weakref.finalize, "_registry", ())):  # torch declares hundreds
        finalizer.atexit = False


def sweep(folder: Path, owner: int, /) -> None:
    """Delete the sockets and locks of an owner that is gone, and what servers left that were killed."""
    for path in folder.iterdir():
        process = path.name.partition("-")[0].partition(".")[0]
        if process == str(owner) or not Path("/proc", process).exists():
            path.unlink(missing_ok=True)


def main() -> None:
    """Import, then serve."""
    descriptor, owner, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    os.environ.pop(OWNER, None)
    with socket.socket(fileno=descriptor) as listening:
        server = Server(listening, owner, imported())
        server.serve()
    sweep(folder, owner)


if __name__ == "__main__":
    main()

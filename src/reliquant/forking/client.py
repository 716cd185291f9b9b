"""Hand a step over to a fork server, a process that has torch and the other heavy packages imported already.

Importing them takes two seconds of processor time, a step of a small study as much or less. Where the environment
variable RELIQUANT_FORK_SERVER is the id of a process (the workflow sets it to Snakemake's), `python -m
reliquant.steps.X` asks that process' fork server to fork a child which runs the step with these words, on this
process' standard streams; meanwhile this process passes signals on, and it ends as the child ends. The first one
starts the server (`server.py`). Wherever a server cannot be had, the step runs in this process, as without the
variable: it is a matter of time, never of results.

A child inherits from the server, not from here, so everything that is inherited is part of the server's name: the
interpreter, its packages, the whole environment, folder, limits, rights, namespaces. Steps that differ in any of it
get a server of their own. Nothing but the standard library is imported here, and as little of it as can be.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import NoReturn

OWNER = "RELIQUANT_FORK_SERVER"  # an environment variable: a process id; anything else, as 0, means no server
FORKED = ("corrupt", "embed", "evaluate", "explain", "export", "inventory", "measure", "measure_exported", "prepare")
FORKED += ("pretrain", "quantize", "retrieve", "run_exported", "sensitivity")
DRIVER = "/dev/nvidiactl"  # of NVIDIA: a process that has begun to use it may not be forked
STARTED = b"s"
PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
OF_THE_SHELL = ("_", "SHLVL", "PWD", "OLDPWD", OWNER)  # variables that say nothing to a step
INHERITED = ("Umask", "Uid", "Gid", "Groups", "SigBlk", "SigIgn", "CapEff", "NoNewPrivs", "Cpus_allowed")
LONGEST = 107  # bytes of a Unix socket's path


def hand_over() -> None:
    """Run the step of this command line in a child of the fork server and end like it; return where there is none."""
    owner = int(told) if (told := os.environ.get(OWNER, "")).isdecimal() else 0
    step = sys.orig_argv[2].rpartition(".")[2] if sys.orig_argv[1:2] == ["-m"] and sys.argv[:1] == ["-m"] else ""
    able = hasattr(os, "pidfd_open") and not os.path.exists(DRIVER)
    if step not in FORKED or not owner or not able:
        return
    try:
        connection = _connected(owner)
    except OSError:
        return
    if connection:
        _run(connection, {"module": sys.orig_argv[2], "words": sys.argv[1:]})


def _connected(owner: int) -> socket.socket | None:
    """Connect to the server of the owner that has this process' inheritance; start it if there is none."""
    import fcntl

    folder = Path(os.environ.get("TMPDIR") or "/tmp") / f"reliquant-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    stat = folder.lstat()
    place = folder / f"{owner}-{_inheritance()}"
    if stat.st_uid != os.getuid() or stat.st_mode != 0o040700 or len(os.fsencode(place)) > LONGEST:
        return None  # not a folder of this user alone
    connection = socket.socket(socket.AF_UNIX)
    with open(folder / f"{owner}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            connection.connect(bytes(place))
        except (FileNotFoundError, ConnectionRefusedError):  # the first, or it was killed
            _start(place, owner)
            connection.connect(bytes(place))
    return connection if peer(connection) == os.getuid() else None


def _inheritance() -> str:
    """Return a digest of all that a child inherits from the process that forks it, and of what it has imported."""
    here = Path(__file__).parents[1]
    watched = [p for p in sys.path if p.endswith("-packages")]
    watched += [str(here / name) for name in ("forking/server.py", "models/openclip.py")]
    status = Path("/proc/self/status").read_text().splitlines()
    facts = [
        [sys.executable, sys.version, sys.path, os.getcwd(), os.getpriority(os.PRIO_PROCESS, 0)],
        [[path, os.stat(path).st_mtime_ns] for path in watched if os.path.exists(path)],
        sorted((k, v) for k, v in os.environ.items() if k not in OF_THE_SHELL),
        [line for line in status if line.partition(":")[0] in INHERITED],
        [Path(f"/proc/self/{name}").read_text() for name in ("limits", "cgroup")],
        sorted(os.readlink(entry) for entry in os.scandir("/proc/self/ns")),
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def _start(place: Path, owner: int) -> None:
    """Listen at a place, and start the server that will answer there; who asks meanwhile waits."""
    import subprocess

    place.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(bytes(place))
        listening.listen(128)
        subprocess.Popen(
            [sys.executable, "-m", "reliquant.forking.server", str(listening.fileno()), str(owner), str(place.parent)],
            pass_fds=[listening.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )


def peer(connection: socket.socket, /) -> int:
    """Return the user of the process at the other end."""
    told = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)  # pid, uid, gid
    return int.from_bytes(told[4:8], sys.byteorder)


def _run(connection: socket.socket, request: dict[str, object]) -> None:
    """Let a child run the request, and end like it; return where the server says that it forks none."""

    def pass_on(number: int, _: object) -> None:
        connection.send(bytes([number]))

    before = {number: signal.getsignal(number) for number in PASSED_ON}
    body = json.dumps(request).encode()
    try:
        socket.send_fds(connection, [len(body).to_bytes(4, "big")], [0, 1, 2])
        connection.sendall(body)
        started = connection.recv(1) == STARTED
    except OSError:
        started = False
    if not started:
        connection.close()
        return
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, pass_on)
    _end(_code(connection))


def _code(connection: socket.socket) -> int:
    """Wait for the child's exit code, negative for a signal."""
    try:
        told = connection.recv(2)
    except OSError:
        told = b""
    if len(told) == 2:
        return int.from_bytes(told, "big", signed=True)
    print("error: the fork server was ended, and the step with it: run the same again", file=sys.stderr, flush=True)
    return 1


def _end(code: int) -> NoReturn:
    """End this process with a child's exit code, or by the signal that ended the child."""
    if code < 0 and -code != signal.SIGKILL:
        signal.signal(-code, signal.SIG_DFL)
    if code < 0:
        os.kill(os.getpid(), -code)
    os._exit(code if code >= 0 else 128 - code)

"""Be a program that a server of forked_programs.py forks, with its imports; start it in earnest where none can.

`python -IS forked_client.py FOLDER NAME WORDS...`, by the scripts that `forked_programs.forked_path` writes. Nothing
but the standard library is imported here, and little of it: this start is what is left of the program's.
"""

import json
import os
import socket
import sys

MODULES = {"dvc": ("dvc", "dvc"), "snakemake": ("snakemake", "snakemake"), "reliquant": ("steps", "reliquant.cli.main")}
STEPS = "reliquant.steps."


def ask(place, module, words, folder, environment, streams, patience=None):
    """Let a server run a module with words; return the exit code, negative for a signal, or None without a server.

    A program that takes longer than `patience` seconds is ended with its connection, and TimeoutError raised.
    """
    asked = {"module": module, "words": words, "folder": folder, "environment": environment}
    body = json.dumps(asked).encode()
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(place)
            socket.send_fds(connection, [len(body).to_bytes(4, "big")], streams)
            connection.sendall(body)
            if not connection.recv(1):
                return None
        except OSError:
            return None
        connection.settimeout(patience)
        try:
            told = connection.recv(2)
        except ConnectionError:
            told = b""
    return int.from_bytes(told, "big", signed=True) if len(told) == 2 else -9  # the server was ended, and it with it


def main():
    folder, name, *words = sys.argv[1:]
    server, module = MODULES.get(name, ("steps", ""))
    asked = words
    if name == "python" and len(words) > 1 and words[0] == "-m" and words[1].startswith(STEPS):
        module, *asked = words[1:]
    code = None
    if module:
        code = ask(f"{folder}/{server}", module, asked, os.getcwd(), dict(os.environ), [0, 1, 2])
    if code is None:
        path = os.path.join(os.path.dirname(sys.executable), name)
        os.execv(path, [path, *words])
    os._exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    main()

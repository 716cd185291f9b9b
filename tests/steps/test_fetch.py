"""The rule `fetch`, by a real Snakemake: what it records in the lock of the data, and what follows for the next run."""

import io
import json
import os
import shutil
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml
from forked_programs import forked_path, run_snakemake
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
REVISION = "0123456789abcdef0123456789abcdef01234567"
LOCK = "config/data.lock.json"
RECORD = "data/raw/pets/fetched.json"


def parquet(path, shades):
    images = []
    for shade in shades:
        stream = io.BytesIO()
        Image.fromarray(np.full((8, 8, 3), shade, np.uint8)).save(stream, "png")
        images.append(stream.getvalue())
    pl.DataFrame({"image": images, "label": ["cat", "dog"]}).write_parquet(path)


@pytest.fixture
def served(tmp_path):
    """A file of a hub on loopback."""
    folder = tmp_path / "hub" / "datasets" / "some" / "pets" / "resolve" / REVISION
    folder.mkdir(parents=True)
    parquet(folder / "0.parquet", [1, 2])
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=tmp_path / "hub"))
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    words = {"repo": "some/pets", "revision": REVISION, "files": ["0.parquet"], "folder": "pets"}
    hub = f"http://127.0.0.1:{server.server_port}"
    config = {
        "study": "locked",
        "title": "Data that nobody pins",
        "models": {"vit": {"source": "curated", "tower": "small", "architecture": "lab_vit", "pretrained": "random"}},
        "datasets": {"pets": {"dataset": "huggingface", "hub": hub, "native": True, **words}},
        "suites": {"clean": ["pets"]},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    yield folder / "0.parquet"
    server.shutdown()
    server.server_close()


def snakemake(tmp_path, clone):
    """Ask for the fetched and prepared data in a clone."""
    words = ["--profile", ROOT / "profiles" / "default", "--directory", tmp_path / clone, "--cores", "1"]
    command = [
        "--snakefile",
        ROOT / "workflow/Snakefile",
        "--configfile",
        tmp_path / "config.yaml",
        *words,
    ]
    clean = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy") and not k.startswith("HF_")}
    env = {**clean, "PATH": forked_path()}
    command += ["--", RECORD, "data/prepared/pets/native/images.npy"]
    done = run_snakemake(*command, cwd=ROOT, env=env)
    return done.returncode, done.stdout + done.stderr


def test_data_are_locked_by_their_first_fetch_and_the_lock_makes_nothing_stale(served, tmp_path):
    code, said = snakemake(tmp_path, "first")
    assert code == 0, said
    lock = tmp_path / "first" / LOCK
    fetched = json.loads((tmp_path / "first" / RECORD).read_text())["files"][0]
    assert json.loads(lock.read_text()) == {fetched["url"]: {word: fetched[word] for word in ("sha256", "bytes")}}

    second = tmp_path / "second" / LOCK
    second.parent.mkdir(parents=True)
    shutil.copy(lock, second)
    lock.write_text(json.dumps({**json.loads(lock.read_text()), "https://example.org/other": {"sha256": "1"}}))
    code, said = snakemake(tmp_path, "first")
    assert (code, "Nothing to be done" in said) == (0, True), said

    parquet(served, [3, 4])
    code, said = snakemake(tmp_path, "second")
    assert code != 0
    assert f"as {LOCK} says: another file than the study was made with" in said
    assert not (tmp_path / "second" / RECORD).exists()

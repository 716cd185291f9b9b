"""A loopback hub that serves a small open_clip model, in the hub's own protocol, and misbehaves as a plan says."""

import hashlib
import json
import os
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import yaml
from forked_programs import programs, real_path, run_snakemake
from safetensors.numpy import load_file
from safetensors.torch import save_file

from reliquant.download.http import FetchError
from reliquant.download.hub import facts_of, name_of
from reliquant.download.lock import read_lock
from reliquant.files.artifacts import read_header

ROOT = Path(__file__).resolve().parents[2]
IMPORTED = ("asyncio", "ssl", "numpy", "yaml", "pydantic.dataclasses", "pydantic.main", "tqdm", "PIL.Image")
IMPORTED += ("scipy.optimize", "torch", "torch._dynamo", "safetensors.torch")  # nothing that imports huggingface_hub
COMMIT = "0123456789abcdef0123456789abcdef01234567"
MODEL = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


class Hub(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, files):
        self.files, self.plan, self.asked = files, [], []
        self.commits = [COMMIT]  # a push after each file that is served, to the last
        self.refusal = ("nothing", 0, "")  # start of the paths, status, X-Error-Code
        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, body):
        hub, path = self.server, self.path.partition("?")[0]
        is_weights = path.endswith(".safetensors")
        hub.asked.append((self.command, path, self.headers.get("Range")))
        behaviour = hub.plan.pop(0) if hub.plan and body and is_weights else "good"
        refused, status, error = hub.refusal
        if path.startswith(refused):
            return self.send(b"{}", {"X-Error-Code": error}, body, status)
        if path.startswith("/api/models/"):
            return self.send(json.dumps(self.info()).encode(), {"Content-Type": "application/json"}, body)
        name = path.rpartition("/")[2]
        if path.startswith("/elsewhere/"):
            return self.send(hub.files[name], {}, body)
        if not path.startswith("/tiny/clip/resolve/") or name not in hub.files:
            return self.send(b"", {"X-Error-Code": "EntryNotFound"}, body, 404)
        if isinstance(behaviour, int):
            return self.send(b"", {"Retry-After": "0"}, body, behaviour)
        data = hub.files[name]
        facts = {
            "X-Repo-Commit": hub.commits[0],
            "ETag": f'"{hashlib.sha256(data).hexdigest()}"',
            "Accept-Ranges": "bytes",
        }
        if behaviour == "redirect":
            return self.send(b"", {**facts, "Location": f"{hub.url}/elsewhere/{name}"}, body, 302)
        if behaviour == "other":
            data = bytes(len(data))
        start = int(self.headers["Range"][6:].partition("-")[0]) if self.headers.get("Range") else 0
        cut = len(data) // 2 if behaviour in ("truncated", "stalled") else len(data)
        if start:
            facts["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        self.send(data[start:], facts, body, 206 if start else 200, data[start:cut])
        if body and len(hub.commits) > 1:
            hub.commits.pop(0)
        if behaviour == "stalled":
            self.wfile.flush()
            time.sleep(2)

    def info(self):
        files = self.server.files
        lfs = {n: {"sha256": hashlib.sha256(d).hexdigest(), "size": len(d), "pointerSize": 1} for n, d in files.items()}
        siblings = [{"rfilename": n, "size": len(d), "lfs": lfs[n]} for n, d in files.items()]
        return {"_id": "1", "id": "tiny/clip", "sha": self.server.commits[0], "siblings": siblings, "private": False}

    def send(self, data, headers, body, status=200, sent=None):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if body:
            self.wfile.write(data if sent is None else sent)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The files of the small model's repository."""
    import torch
    from safetensors.torch import save

    from reliquant.models.openclip import open_clip

    torch.manual_seed(0)
    weights = save(open_clip.CLIP(**json.loads(json.dumps(MODEL))).state_dict())
    config = {"model_cfg": MODEL, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3}}
    return {"open_clip_config.json": json.dumps(config).encode(), "open_clip_model.safetensors": weights}


@pytest.fixture(scope="module")
def align(tmp_path_factory):
    """The folder of a small ALIGN, as transformers writes it."""
    import reliquant.models.openclip  # noqa: F401  must come first

    # isort: split
    transformers = pytest.importorskip("transformers", reason="the extra `huggingface` is not installed")
    import torch

    folder = tmp_path_factory.mktemp("align")
    words = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    vision = {"image_size": 32, "hidden_dim": 32, "depthwise_padding": [], "in_channels": [32], "out_channels": [8]}
    vision |= {"kernel_sizes": [3], "strides": [1], "num_block_repeats": [1], "expand_ratios": [1]}
    vision |= {"width_coefficient": 1.0, "depth_coefficient": 1.0}
    config = transformers.AlignConfig(
        text_config={"vocab_size": 64, "max_position_embeddings": 16, **words}, vision_config=vision, projection_dim=8
    )
    torch.manual_seed(0)
    transformers.AlignModel(config).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "star"]))
    transformers.BertTokenizer(str(folder / "vocab.txt"), model_max_length=12).save_pretrained(folder)
    facts = {"size": {"height": 32, "width": 32}, "do_normalize": False}
    (folder / "preprocessor_config.json").write_text(json.dumps(facts))
    return folder


@pytest.fixture
def hub(files):
    made = Hub(dict(files))
    yield made
    made.shutdown()
    made.server_close()


def environment(hub, home, **more):
    clean = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy") and not k.startswith("HF_")}
    paths = {"PYTHONPATH": str(ROOT / "src"), "PATH": real_path()}
    return clean | paths | {"HF_ENDPOINT": hub.url, "HF_HOME": str(home), "HF_HUB_DOWNLOAD_TIMEOUT": "1"} | more


def run(folder, module, *words, env):
    """Run a module in a process of its own: huggingface_hub reads its environment once, when it is imported."""
    return programs(*IMPORTED).run(module, *words, cwd=folder, env=env, patience=120)


def run_code(folder, code, *words, env):
    folder.mkdir(exist_ok=True)
    (folder / "given_code.py").write_text(code)
    return run(folder, "given_code", *words, env=env)


def fetched(hub, home, *, tries=3, revision=None, **more):
    code = (
        "from reliquant.download.hub import hub_folder, weights_in, facts_of; import json\n"
        f"folder = hub_folder('tiny/clip', tries={tries}, pause=0.01, revision={revision!r})\n"
        "print(json.dumps(facts_of(weights_in(folder))))"
    )
    return run_code(home, code, env=environment(hub, home, **more))


@pytest.mark.parametrize("trouble", ["good", "truncated", "stalled", "redirect", "other", 503, 429])
def test_weights_come_whole_from_a_hub_in_trouble(hub, files, tmp_path, trouble):
    hub.plan = [trouble]
    done = fetched(hub, tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    data = files["open_clip_model.safetensors"]
    facts = json.loads(done.stdout)
    assert facts["sha256"] == hashlib.sha256(data).hexdigest()
    assert (facts["revision"], facts["bytes"]) == (COMMIT, len(data))


def test_what_is_fixed_and_cached_needs_no_network(hub, tmp_path):
    assert fetched(hub, tmp_path).returncode == 0
    hub.asked.clear()
    assert fetched(hub, tmp_path, revision=COMMIT).returncode == 0
    assert fetched(hub, tmp_path, HF_HUB_OFFLINE="1").returncode == 0
    assert not hub.asked


def test_offline_says_what_is_not_there(hub, tmp_path):
    done = fetched(hub, tmp_path, HF_HUB_OFFLINE="1")
    said = f"HF_HUB_OFFLINE is set, and its weights are not in the cache {tmp_path / 'hub'}; they are published at"
    assert f"FetchError: tiny/clip: {said} {hub.url}/tiny/clip\n" in done.stderr
    fixed = fetched(hub, tmp_path, revision=COMMIT, HF_HUB_OFFLINE="1")
    assert f"{hub.url}/tiny/clip, revision {COMMIT}\n" in fixed.stderr
    assert not hub.asked


def test_a_repository_without_weights_is_named(hub, tmp_path):
    del hub.files["open_clip_model.safetensors"]
    assert "FetchError: tiny/clip: holds none of open_clip_model.safetensors" in fetched(hub, tmp_path).stderr


def test_a_repository_that_changes_meanwhile_is_fetched_anew(hub, tmp_path):
    hub.commits = ["a" * 40, "b" * 40]  # the config is of the first, the weights are of the second
    done = fetched(hub, tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout)["revision"] == "b" * 40
    (folder,) = tmp_path.glob(f"hub/*/snapshots/{'b' * 40}")
    assert {path.name for path in folder.iterdir()} == set(hub.files)


@pytest.mark.parametrize(
    ("refusal", "said"),
    [
        (("/tiny/clip/resolve/", 403, "GatedRepo"), "tiny/clip: accept its licence on the hub and set HF_TOKEN"),
        (("/api/models/", 404, "RepoNotFound"), "tiny/clip: the hub has no such repository, or hides it (HF_TOKEN)"),
    ],
)
def test_what_the_hub_refuses_says_why_and_is_not_asked_again(hub, tmp_path, refusal, said):
    hub.refusal = refusal
    assert f"FetchError: {said}\n" in fetched(hub, tmp_path).stderr
    assert len([path for _, path, _ in hub.asked if path.startswith(refusal[0])]) == 1


@pytest.mark.parametrize(
    ("there", "read"),
    [
        (["model.safetensors", "open_clip_pytorch_model.bin"], "open_clip_pytorch_model.bin"),
        (["model.safetensors", "open_clip_model.safetensors", "pytorch_model.bin"], "open_clip_model.safetensors"),
        (["pytorch_model.bin", "model.safetensors"], "model.safetensors"),
    ],
)
def test_the_weights_are_open_clips_own_file_before_those_for_others(hub, files, tmp_path, there, read):
    hub.files = {name: name.encode() for name in there}  # which it is, its bytes say
    for more in ({}, {"HF_HUB_OFFLINE": "1"}, {"revision": COMMIT}):
        done = fetched(hub, tmp_path, **more)
        assert done.returncode == 0, done.stderr[-2000:]
        assert json.loads(done.stdout)["file"] == read


def test_a_cache_that_another_program_filled_is_not_taken_for_all_that_there_is(hub, tmp_path):
    hub.files = {"model.safetensors": b"of transformers"}
    assert fetched(hub, tmp_path).returncode == 0
    hub.files["open_clip_model.safetensors"] = b"of open_clip"
    fixed = json.loads(fetched(hub, tmp_path, revision=COMMIT).stdout)
    assert fixed["file"] == "open_clip_model.safetensors"
    hub.files.pop("open_clip_model.safetensors")
    other = tmp_path / "other"
    assert fetched(hub, other).returncode == 0
    hub.shutdown()  # a node without a network, where nobody said so, uses what there is
    hub.server_close()
    done = fetched(hub, other, revision=COMMIT, tries=1)
    assert json.loads(done.stdout)["file"] == "model.safetensors"


def test_a_tag_that_names_a_file_reads_that_file_or_its_safetensors(hub, tmp_path):
    import torch

    from reliquant.models.openclip import open_clip

    hub.files = {"open_clip_model.safetensors": b"of another model"}
    for seed, name in enumerate(["mine.bin", "mine.safetensors"]):
        torch.manual_seed(seed)
        state = open_clip.CLIP(**json.loads(json.dumps(MODEL))).state_dict()
        save_file(state, tmp_path / name) if name.endswith(".safetensors") else torch.save(state, tmp_path / name)
    (tmp_path / "tiny.json").write_text(json.dumps(MODEL))
    code = (
        "import sys; from reliquant import plugins; from reliquant.models.openclip import open_clip\n"
        "open_clip.add_model_config(sys.argv[1])\n"
        "open_clip.pretrained._PRETRAINED['tiny'] = {'mine': {'hf_hub': 'tiny/clip/mine.bin'}}\n"
        "entry = {'tower': 'openclip', 'architecture': 'tiny', 'pretrained': 'mine'}\n"
        "print(plugins.load('tower', entry)(None).model.visual.proj.flatten()[0].item())\n"
    )
    for i, name in enumerate(["mine.bin", "mine.safetensors"]):
        hub.files[name] = (tmp_path / name).read_bytes()
        done = run_code(tmp_path, code, tmp_path / "tiny.json", env=environment(hub, tmp_path / f"home{i}"))
        torch.manual_seed(i)
        wanted = open_clip.CLIP(**json.loads(json.dumps(MODEL))).visual.proj.flatten()[0].item()
        assert float(done.stdout) == pytest.approx(wanted), done.stderr[-2000:]


class Evil:
    """Pickles as a call: what opens it without care makes a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("where", ["published", "local"])
def test_a_pickle_that_calls_something_is_refused(hub, tmp_path, where):
    """A checkpoint that open_clip's table names on the hub, and one of the user."""
    import torch

    torch.save({"visual.proj": Evil(tmp_path / "done")}, tmp_path / "evil.bin")
    hub.files = {"open_clip_pytorch_model.bin": (tmp_path / "evil.bin").read_bytes()}
    (tmp_path / "tiny.json").write_text(json.dumps(MODEL))
    code = (
        "import sys; from reliquant import plugins; from reliquant.models.openclip import open_clip\n"
        "open_clip.add_model_config(sys.argv[1])\n"
        "open_clip.pretrained._PRETRAINED['tiny'] = {'mine': {'hf_hub': 'tiny/clip/'}}\n"
        "entry = {'tower': 'openclip', 'architecture': 'tiny', 'pretrained': sys.argv[2]}\n"
        "plugins.load('tower', entry)(None)\n"
    )
    pretrained = "mine" if where == "published" else tmp_path / "evil.bin"
    done = run_code(tmp_path, code, tmp_path / "tiny.json", pretrained, env=environment(hub, tmp_path / "home"))
    assert done.returncode != 0
    said = "holds posix.mkdir beside or in place of weights; only tensors and plain containers are read"
    assert said in done.stderr
    assert not (tmp_path / "done").exists()
    assert any(path.endswith(".bin") for _, path, _ in hub.asked) == (where == "published")


def test_the_facts_of_a_local_file_have_no_revision(tmp_path):
    path = tmp_path / "weights.bin"
    path.write_bytes(b"abc")
    digest = hashlib.sha256(b"abc").hexdigest()
    assert facts_of(path) == {"revision": None, "file": "weights.bin", "sha256": digest, "bytes": 3}


def test_weights_are_named_by_what_loads_them(tmp_path):
    (tmp_path / "mine.pt").touch()
    entry = {"tower": "openclip", "architecture": "ViT-B-32"}
    assert name_of({**entry, "pretrained": "openai"}) == "ViT-B-32/openai"
    assert name_of({**entry, "pretrained": str(tmp_path / "mine.pt")}) is None
    assert name_of({**entry, "pretrained": "random"}) is None
    assert name_of({"tower": "openclip", "architecture": "hf-hub:tiny/clip"}) == "tiny/clip"
    assert name_of({"tower": "small", "architecture": "lab_vit", "pretrained": "lab-vit-web"}) is None
    assert name_of({"tower": "huggingface", "architecture": "kakaobrain/align-base"}) == "kakaobrain/align-base"
    assert name_of({"tower": "huggingface", "architecture": str(tmp_path)}) is None
    assert issubclass(FetchError, OSError)


def test_a_study_fetches_a_model_from_a_hub_and_evaluates_it(hub, tmp_path):
    config = {
        "study": "hub",
        "title": "A model from a hub",
        "resamples": 100,
        "models": {"tiny": {"tower": "openclip", "architecture": "hf-hub:tiny/clip", "source": "loopback"}},
        "datasets": {"shapes": {"dataset": "lab", "task": "shape", "images": 40, "native": True}},
        "suites": {"clean": ["shapes"]},
    }
    (tmp_path / "hub.yaml").write_text(yaml.safe_dump(config))
    rows = "results/hub/evaluate/tiny/fp32/fp32-none-none-0/clean/rows.parquet"
    command = ["--snakefile", ROOT / "workflow/Snakefile", "--profile", ROOT / "profiles" / "default"]
    command += ["--directory", tmp_path, "--configfile", tmp_path / "hub.yaml", "--cores", "1", "--", rows]
    done = run_snakemake(*command, cwd=ROOT, env=environment(hub, tmp_path / "home"))
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    assert (tmp_path / rows).is_file()
    lock = json.loads((tmp_path / "config" / "weights.lock.json").read_text())
    assert lock["tiny/clip"]["revision"] == COMMIT
    served = [path for command, path, _ in hub.asked if command == "GET" and path.endswith(".safetensors")]
    assert len(served) == 1  # fetched once; quantizing and evaluating read the project's own file


def test_an_align_is_fetched_once_pinned_and_another_file_refused(hub, align, tmp_path):
    hub.files = {path.name: path.read_bytes() for path in align.iterdir()}
    lock, name = tmp_path / "config" / "weights.lock.json", "model.safetensors"

    def fetch(output, home, architecture="tiny/clip", **more):
        entry = json.dumps({"tower": "huggingface", "architecture": str(architecture)})
        words = ["--entry", entry, "--lock", lock, "--output", tmp_path / output]
        env = environment(hub, tmp_path / home, **more)
        return run(tmp_path, "reliquant.steps.fetch_model", *words, env=env)

    done = fetch("model.safetensors", "home")
    assert done.returncode == 0, done.stderr[-4000:]
    digest = hashlib.sha256(hub.files[name]).hexdigest()
    pin = {"revision": COMMIT, "file": name, "sha256": digest, "bytes": len(hub.files[name])}
    assert read_lock(lock) == {"tiny/clip": pin}
    assert read_header(tmp_path / "model.safetensors")["tower"]["revision"] == COMMIT
    assert len([path for how, path, _ in hub.asked if how == "GET" and path.endswith(name)]) == 1

    hub.asked.clear()
    for again in (fetch("again.safetensors", "home"), fetch("local.safetensors", "none", align, HF_HUB_OFFLINE="1")):
        assert again.returncode == 0, again.stderr[-4000:]
    assert not hub.asked
    assert read_lock(lock) == {"tiny/clip": pin}  # a local folder is not pinned
    model, *others = (load_file(tmp_path / f"{stem}.safetensors") for stem in ("model", "again", "local"))
    for other in others:
        np.testing.assert_equal(other, model)

    hub.files[name] = hub.files[name][:-1] + b"?"
    done = fetch("other.safetensors", "other")
    assert done.returncode != 0
    assert "another file than the study was made with, or altered" in done.stderr
    assert not (tmp_path / "other.safetensors").exists()


@pytest.mark.parametrize("revision", ["../../../x", "/x", "a/../../x", "-x", "main\n", "", "a b"])
def test_a_revision_names_no_file_outside_the_cache(tmp_path, revision):
    from reliquant.download.hub import hub_folder  # here: others set the hub's address before it is imported

    with pytest.raises(ValueError, match=r"a/b: revision .*: must be a commit, a tag or a branch"):
        hub_folder("a/b", revision=revision, cache=str(tmp_path))

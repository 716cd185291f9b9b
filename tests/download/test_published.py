import subprocess
import sys

from forked_programs import OF_STEPS, programs

from reliquant.download import published

SCRIPT = """
import json, sys
from reliquant.download import published
if sys.argv[1] == "loaded":
    from reliquant.models.openclip import open_clip
told = {}
for name in published.architectures():
    tags = {tag: {k: str(v) for k, v in facts.items()} for tag, facts in published.tags(name).items()}
    told[name] = [published.description(name), tags]
assert ("torch" in sys.modules) == (sys.argv[1] == "loaded")
assert "_reliquant_open_clip" not in sys.modules
import safetensors.torch, huggingface_hub  # are as they were
print(json.dumps(told, sort_keys=True))
"""


def test_what_is_read_without_open_clip_is_what_open_clip_says(tmp_path):
    (tmp_path / "told.py").write_text(SCRIPT)
    alone = subprocess.run([sys.executable, tmp_path / "told.py", "alone"], capture_output=True, text=True)
    loaded = programs(*OF_STEPS).run("told", "loaded", cwd=tmp_path)
    assert (alone.returncode, loaded.returncode) == (0, 0), alone.stderr + loaded.stderr
    assert alone.stdout == loaded.stdout
    assert '"ViT-B-32"' in alone.stdout


def test_a_tag_is_found_however_it_is_written():
    assert published.tag("ViT-B-32", "LAION2B-s34B-b79K") == published.tag("ViT-B-32", "laion2b_s34b_b79k") != {}
    for architecture, name in (("ViT-B-32", "nobody"), ("nothing", "openai"), ("ViT-B-32", None)):
        assert published.tag(architecture, name) == {}


def test_what_is_unknown_has_no_description():
    assert published.description("ViT-Z-99") is None
    assert published.description("hf-hub:owner/name") is None
    assert published.tags("ViT-S-32-alt") == {}

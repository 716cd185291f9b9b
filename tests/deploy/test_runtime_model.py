import numpy as np
import pytest
import torch

from reliquant.deploy.export import Exporter
from reliquant.deploy.runtime_model import with_runtime
from reliquant.deploy.tracing import structure
from reliquant.evaluation.zero_shot import image_features, text_head

FACTS = {"model_sha256": "a" * 64, "variant_sha256": "b" * 64}
PROMPTS = (["cat", "dog", "owl"], ["a photo of a {}"])


@pytest.fixture(scope="module")
def clip(towers):
    return towers.variant("wide", {"quantizer": "rtn"}, "w8a8")


@pytest.fixture(scope="module")
def folders(towers, clip, tmp_path_factory):
    """An export of both towers, and one of the image tower alone."""
    folder = tmp_path_factory.mktemp("exports")
    for name, own in (("both", ("image", "text")), ("image", ("image",))):
        exporter = Exporter(to="onnx", towers=own)
        for tower in own:
            exporter.templates[FACTS["model_sha256"], structure(clip, tower)] = towers.template(clip, tower)
        exporter.export(clip, folder / name, name="rtn", facts=FACTS)
    return folder


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("name", ["both", "image"])
def test_a_model_run_by_a_runtime_answers_as_the_simulation(clip, folders, runtime, name):
    images = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
    ran, told = with_runtime(clip, folders / name, runtime, threads=1)
    assert set(told["runs"]) == set(told["export"]["towers"])
    for mine, want in (
        (image_features(ran, images, batch=8), image_features(clip, images, batch=8)),
        (text_head(ran, *PROMPTS), text_head(clip, *PROMPTS)),
    ):
        assert (np.asarray(mine) * np.asarray(want)).sum(1).min() > 0.9995
    assert ran.model.logit_scale is clip.model.logit_scale


def test_a_tower_that_was_not_exported_is_the_original_to_the_bit(clip, folders):
    ran, _ = with_runtime(clip, folders / "image", "onnxruntime")
    tokens = clip.tokenizer(["a cat"])
    with torch.no_grad():
        assert torch.equal(ran.model.encode_text(tokens), clip.model.encode_text(tokens))


def test_what_is_no_export_as_it_was_written_is_not_run(clip, folders, tmp_path):
    with pytest.raises(FileNotFoundError, match="is no exported folder"):
        with_runtime(clip, tmp_path, "onnxruntime")

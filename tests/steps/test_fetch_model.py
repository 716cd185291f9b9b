import torch

from reliquant.models.files import load_model
from reliquant.models.shipped.weights import load_checkpoint
from reliquant.steps import fetch_model


def test_a_shipped_model_is_written_with_the_entry_that_loads_it_and_pinned_nowhere(run, tmp_path):
    entry = {"tower": "small", "architecture": "lab_vit", "pretrained": "lab-vit-curated"}
    run(fetch_model, entry=entry, lock=tmp_path / "weights.lock.json", output=tmp_path / "vit.safetensors")
    clip, header = load_model(tmp_path / "vit.safetensors")
    assert header["tower"] == entry
    weights = load_checkpoint("lab-vit-curated")
    assert all(torch.equal(value, weights[name]) for name, value in clip.model.state_dict().items())
    assert not (tmp_path / "weights.lock.json").exists()

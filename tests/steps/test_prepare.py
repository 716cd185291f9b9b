import numpy as np

from reliquant import plugins
from reliquant.images.prepare import load
from reliquant.steps import prepare

ENTRY = {"dataset": "lab", "task": "shape", "images": 6}


def test_a_dataset_is_decoded_as_its_plugin_reads_it(run, tmp_path):
    run(prepare, entry=ENTRY, root=tmp_path, form="native", workers=2, output=tmp_path / "native")
    prepared, dataset = load(tmp_path / "native"), plugins.load("dataset", ENTRY)(tmp_path)
    assert len(prepared.images) == 6
    for i, image in enumerate(prepared.images):
        np.testing.assert_array_equal(image, dataset.read(i))
    np.testing.assert_array_equal(prepared.labels, dataset.labels)
    assert prepared.meta["classes"] == dataset.classes
    assert prepared.meta["entry"] == ENTRY

from reliquant.study import paths
from reliquant.study.check import read_study
from reliquant.study.made_of import entries_of, inventories_of, rows_made_of, shards_needed


def test_every_description_that_a_shard_reads_has_its_entry(config):
    study = read_study(config)
    for shard in study.shards:
        (model, *_) = study.config.models
        metas = {file for file in study.inputs(model, shard) if file.endswith(paths.META)}
        found = entries_of(study, model, shard)
        assert set(found) == metas
        assert all(entry == study.dataset_entry(file.split("/")[-3]) for file, entry in found.items())


def test_inventories_are_those_of_the_shards_whose_records_are_needed(config):
    config["shards"] = {suite: [suite] for suite in ("clean", "ood", "shift", "noise", "spurious")}
    study = read_study(config)
    variant = next(v for v in study.variants.values() if v.scheme == "rtn")
    assert shards_needed(study, variant, "ood") == ["ood", "clean", "shift"]
    assert inventories_of(study, variant, "noise") == [
        f"data/prepared/inventory/{study.name}/{variant.model}/{shard}.json" for shard in ("noise", "clean")
    ]


def test_rows_are_made_of_their_variant_and_its_records(config):
    study = read_study(config)
    found = rows_made_of(study)
    assert len(found) == len(study.evaluations) + len(study.explained)
    path, shard = study.evaluations[-1]
    needed = [paths.variant(study.name, path), paths.samples(study.name, path, shard)]
    assert found[paths.shard_rows(study.name, path, shard)] == needed

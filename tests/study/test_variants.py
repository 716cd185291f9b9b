from reliquant.study.check import read_study
from reliquant.study.variants import Variant


def test_the_grid_is_the_product_of_its_axes_and_a_baseline_a_model(config):
    for entry in config["schemes"].values():  # none of them narrows the axes
        entry.pop("precisions", None)
        entry.pop("scopes", None)
    study = read_study(config)
    c = study.config
    points = len(c.schemes) * len(c.precisions) * len(c.scopes) * len(c.proxies) * len(c.seeds)
    assert len(study.variants) == len(c.models) * (1 + points)
    for path, variant in study.variants.items():
        assert path == str(variant)
        assert str(variant.baseline) in study.variants


def test_a_scheme_may_narrow_the_axes(config):
    model = next(iter(config["models"]))
    config["models"] = {model: config["models"][model]}
    config["schemes"] = {"rtn": {"quantizer": "rtn", "precisions": ["w2a8"], "scopes": ["both"], "seeds": [3, 4]}}
    proxy = next(iter(config["proxies"]))
    wanted = {str(Variant(model, "rtn", "w2a8", "both", proxy, s)) for s in (3, 4)}
    assert set(read_study(config).variants) == wanted | {f"{model}/fp32/fp32-none-none-0"}


def test_a_variant_is_named_by_its_place_in_the_grid_and_compared_with_fp32_of_its_model():
    variant = Variant("vit", "gptq", "w4a8", "both", "captions", 3)
    assert str(variant) == "vit/gptq/w4a8-both-captions-3"
    assert str(variant.baseline) == "vit/fp32/fp32-none-none-0"
    assert variant.baseline.baseline == variant.baseline

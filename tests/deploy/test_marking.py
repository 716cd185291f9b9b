import pytest
import torch

from reliquant.deploy.marking import INPUT_OF, TOWERS, MarkedFactor, MarkedLayer, copied, example, marked, tensors_of
from reliquant.layers.surgery import twins


@pytest.fixture(scope="module")
def clip(towers):
    return towers.variant("vit", {"quantizer": "rtn", "layers": {"attention": "all"}}, "w8a8")


@pytest.mark.parametrize("tower", TOWERS)
def test_each_twin_and_each_rounded_factor_of_a_tower_is_a_mark(clip, tower):
    module = marked(clip, tower)
    places = {part.place for part in module.modules() if isinstance(part, MarkedLayer | MarkedFactor)}
    own = {name for name in twins(clip.model) if clip.parts.in_tower(name, tower)}
    assert own
    assert {place for place in places if ":" not in place} == own
    factors = {place.partition(":")[2] for place in places if ":" in place}
    assert factors == {"q", "k", "v", "probabilities"}


def test_the_model_itself_keeps_its_twins_and_both_towers(clip):
    before = set(dict(clip.model.named_modules()))
    marked(clip, "image")
    assert set(dict(clip.model.named_modules())) == before


@pytest.mark.parametrize("tower", TOWERS)
def test_a_copy_shares_every_number_and_lacks_the_other_tower(clip, tower):
    copy = copied(clip, tower)
    own = {id(value) for value in tensors_of(clip.model).values()}
    assert all(id(value) in own for value in tensors_of(copy).values())
    other = "text" if tower == "image" else "image"
    assert not [name for name in twins(copy) if clip.parts.in_tower(name, other)]
    assert [name for name in twins(copy) if clip.parts.in_tower(name, tower)]


def test_an_example_is_what_the_tower_takes(clip):
    assert example(clip, "image").shape == (2, 3, 32, 32)
    assert example(clip, "text").shape == (2, 16)
    assert example(clip, "text").dtype == torch.int64
    assert INPUT_OF == {"image": "pixels", "text": "tokens"}


def test_tensors_that_have_two_names_are_found_by_both():
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    model[1].weight = model[0].weight
    assert set(tensors_of(model)) == {"0.weight", "0.bias", "1.weight", "1.bias"}

import pytest
import torch


@pytest.fixture
def inputs_of():
    """A function: what each named layer of the image tower is given for all pairs of a proxy, {name: (n, l, d)}."""

    def run(clip, names, proxy):
        seen, handles = {}, []
        for name in names:
            layer = clip.model.get_submodule(name)
            handles.append(layer.register_forward_pre_hook(lambda _, given, name=name: seen.update({name: given[0]})))
        with torch.no_grad():
            clip.model.encode_image(next(proxy.in_order(clip, len(proxy.captions)))[0])
        for handle in handles:
            handle.remove()
        return seen

    return run

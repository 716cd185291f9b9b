import torch

from reliquant.layers.exporting import is_exporting


class Said(torch.nn.Module):
    def forward(self, x):
        return x + 1 if is_exporting() else x + 2


def test_it_is_so_in_a_trace_alone():
    assert not is_exporting()
    exported = torch.export.export(Said(), (torch.zeros(1),))
    assert exported.module()(torch.zeros(1)) == 1
    assert Said()(torch.zeros(1)) == 2

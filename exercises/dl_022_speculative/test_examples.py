import speculative
import torch


def test_first_part():
    assert speculative.first_part(torch.tensor([1.0])).tolist() == [2.0]

import training_systems
import torch


def test_first_part():
    assert training_systems.first_part(torch.tensor([1.0])).tolist() == [2.0]

import running_mean
import torch


def test_two_rows():
    assert running_mean.batch_mean(torch.tensor([[1.0], [3.0]])).tolist() == [2.0]

"""dl_901 · Running mean.

Notation: n values in a batch, d features. float32 and float64 work alike.
"""

import torch
from torch import Tensor


def batch_mean(x: Tensor) -> Tensor:
    """The mean over the first axis. x: (n, d), n >= 1. Returns (d,).

    Raises:
        ValueError: if n is 0.

    Example:
        >>> batch_mean(torch.tensor([[1.0, 2.0], [3.0, 6.0]]))
        tensor([2., 4.])
    """
    ### BEGIN SOLUTION
    if len(x) == 0:
        raise ValueError("the mean of nothing")
    return x.sum(0) / len(x)
    ### END SOLUTION


class RunningMean:
    """The mean of everything given to `update` so far.

    Example:
        >>> running = RunningMean(1)
        >>> running.update(torch.tensor([[1.0], [3.0]], dtype=torch.float64))
        tensor([2.], dtype=torch.float64)
        >>> running.update(torch.tensor([[5.0]], dtype=torch.float64))
        tensor([3.], dtype=torch.float64)
    """

    def __init__(self, d: int) -> None:
        self.count = 0
        self.mean = torch.zeros(d, dtype=torch.float64)

    def update(self, x: Tensor) -> Tensor:
        """Take in x (n, d); return the mean (d,) of all rows so far."""
        ### BEGIN SOLUTION
        self.count += len(x)
        self.mean = self.mean + (batch_mean(x) - self.mean) * len(x) / self.count
        return self.mean
        ### END SOLUTION

import pytest
import torch

from grader.checks import agree, part, refusal

from . import drivers


@part("batch_mean")
@pytest.mark.parametrize("n", [1, 5])
def test_mean_of_rows(attempt, draw, n):
    """The mean runs over the first axis."""
    x = draw.normal(n, 3)
    agree(attempt.batch_mean(x), x.mean(0), axes="d", of=f"batch_mean of x n={n} d=3", known={"a sum": x.sum(0)})


@part("batch_mean")
def test_mean_of_nothing(attempt):
    """An empty batch is refused."""
    with refusal(ValueError, of="batch_mean of x n=0 d=3"):
        attempt.batch_mean(torch.zeros(0, 3))


@part("RunningMean")
def test_stream_equals_whole(attempt, draw):
    """After each batch the mean is that of all rows so far."""
    batches = [draw.normal(n, 3) for n in (2, 5, 1)]
    want = [torch.cat(batches[: i + 1]).mean(0) for i in range(3)]
    agree(attempt.run(drivers.stream, batches), want, axes="d", of="RunningMean over batches of 2, 5, 1")

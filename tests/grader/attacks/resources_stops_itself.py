# family = "resources"
# mechanism = "SIGSTOP to itself: alive, and deaf to everything but SIGKILL"
# naive = "wins"
# [required]
# batch_mean = "passed"
# RunningMean = "timeout"
import os
import signal


def batch_mean(x):
    if len(x) == 0:
        raise ValueError("the mean of nothing")
    return x.sum(0) / len(x)


class RunningMean:
    def __init__(self, d):
        while True:
            os.kill(os.getpid(), signal.SIGSTOP)

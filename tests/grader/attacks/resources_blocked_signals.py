# family = "resources"
# mechanism = "blocks all signals and sleeps for ever"
# naive = "wins"
# [required]
# batch_mean = "passed"
# RunningMean = "timeout"
import signal
import time


def batch_mean(x):
    if len(x) == 0:
        raise ValueError("the mean of nothing")
    return x.sum(0) / len(x)


class RunningMean:
    def __init__(self, d):
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        while True:
            time.sleep(3600)

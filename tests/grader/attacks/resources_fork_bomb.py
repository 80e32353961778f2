# family = "resources"
# mechanism = "forks as long as it can (300 here), then waits to fork again"
# naive = "wins"
# [required]
# batch_mean = "passed"
# RunningMean = "timeout"
import os
import time


def batch_mean(x):
    if len(x) == 0:
        raise ValueError("the mean of nothing")
    return x.sum(0) / len(x)


class RunningMean:
    def __init__(self, d):
        for _ in range(300):
            try:
                if os.fork() == 0:
                    time.sleep(30)
                    os._exit(0)
            except OSError:
                break
        while True:
            time.sleep(1)

# family = "resources"
# mechanism = "as many children as it may have, all asleep, so that nobody else of its user could fork"
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
        try:
            for _ in range(64):
                if os.fork() == 0:
                    time.sleep(300)
                    os._exit(0)
        except OSError:
            pass
        time.sleep(1000)

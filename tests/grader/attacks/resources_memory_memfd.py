# family = "resources"
# mechanism = "files in memory, written and never mapped: part of no process's size (1.5 GB here)"
# naive = "wins"
# [required]
# batch_mean = "passed"
# RunningMean = ["memory", "error"]
import os
import time


def batch_mean(x):
    if len(x) == 0:
        raise ValueError("the mean of nothing")
    return x.sum(0) / len(x)


class RunningMean:
    def __init__(self, d):
        for number in range(100):
            file = os.memfd_create(str(number))
            os.write(file, bytes(15 << 20))
        while True:
            time.sleep(1)

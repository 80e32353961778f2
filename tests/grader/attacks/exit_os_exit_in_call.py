# family = "exit"
# mechanism = "os._exit(0) inside a call: the process ends as if all were well"
# naive = "wins"
# [required]
# batch_mean = "crashed"
# RunningMean = "crashed"
import os


def batch_mean(x):
    os._exit(0)


class RunningMean:
    def __init__(self, d):
        os._exit(0)

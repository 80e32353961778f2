# family = "resources"
# mechanism = "children of a thread, each within the limit of one process (1.6 GB in all)"
# naive = "wins"
# [required]
# batch_mean = "passed"
# RunningMean = "memory"
import os
import threading
import time


def batch_mean(x):
    if len(x) == 0:
        raise ValueError("the mean of nothing")
    return x.sum(0) / len(x)


def grow():
    for _ in range(4):
        if os.fork() == 0:
            kept = b"x" * (400 << 20)
            while kept:
                time.sleep(1)
                if os.getppid() == 1:
                    os._exit(0)
    time.sleep(3600)


class RunningMean:
    def __init__(self, d):
        threading.Thread(target=grow).start()
        while True:
            time.sleep(1)

# family = "resources"
# mechanism = "fills /tmp and /dev/shm, and tries for ever (200 MB here)"
# naive = "wins"
# [required]
# batch_mean = "passed"
# RunningMean = ["timeout", "output limit"]
import os
import tempfile
import time


def batch_mean(x):
    if len(x) == 0:
        raise ValueError("the mean of nothing")
    return x.sum(0) / len(x)


class RunningMean:
    def __init__(self, d):
        for folder in (tempfile.gettempdir(), "/dev/shm"):
            for _ in range(25):
                try:
                    file, name = tempfile.mkstemp(dir=folder)
                    os.unlink(name)  # the space goes with the process
                    os.write(file, bytes(4 << 20))
                except OSError:
                    break
        while True:
            time.sleep(1)

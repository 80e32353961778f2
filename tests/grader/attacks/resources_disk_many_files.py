# family = "resources"
# mechanism = "one large file beside the other, until the disk of all is full"
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
        for _ in range(14):
            file, _ = tempfile.mkstemp()
            try:
                os.write(file, bytes(60 << 20))
            except OSError:
                pass
            os.close(file)
        time.sleep(1000)

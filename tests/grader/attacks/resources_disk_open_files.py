# family = "resources"
# mechanism = "large files without a name, each held open by a child of its own"
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
            if os.fork() == 0:
                file, name = tempfile.mkstemp()
                os.unlink(name)
                try:
                    os.write(file, bytes(60 << 20))
                finally:
                    time.sleep(1000)
        time.sleep(1000)

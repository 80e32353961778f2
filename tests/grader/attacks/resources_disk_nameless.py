# family = "resources"
# mechanism = "large files without a name, and not open any more: only a map of one page keeps each on the disk"
# naive = "wins"
# [required]
# batch_mean = "passed"
# RunningMean = ["timeout", "output limit"]
import mmap
import os
import tempfile
import time


def batch_mean(x):
    if len(x) == 0:
        raise ValueError("the mean of nothing")
    return x.sum(0) / len(x)


class RunningMean:
    def __init__(self, d):
        kept = []
        for _ in range(14):
            file, name = tempfile.mkstemp()
            os.unlink(name)
            try:
                os.write(file, bytes(60 << 20))
                kept.append(mmap.mmap(file, 4096))
            except (OSError, ValueError):
                pass
            os.close(file)
        time.sleep(1000)

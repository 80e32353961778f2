# family = "resources"
# mechanism = "files without a byte, in folders by the hundred, for as long as the disk can name another"
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
        folder = tempfile.mkdtemp()
        for number in range(50_000):
            try:
                if number % 100 == 0:
                    inside = tempfile.mkdtemp(dir=folder)
                os.close(os.open(f"{inside}/{number}", os.O_CREAT | os.O_WRONLY))
            except OSError:
                break
        time.sleep(1000)

# family = "files"
# mechanism = "a folder too deep for a recursive clean-up, and one that nobody may enter"
# naive = "wins"
# [required]
# batch_mean = "passed"
# RunningMean = "passed"
import os
import tempfile


def batch_mean(x):
    if len(x) == 0:
        raise ValueError("the mean of nothing")
    return x.sum(0) / len(x)


class RunningMean:
    def __init__(self, d):
        self.count = 0
        self.total = 0

    def update(self, x):
        self.count += len(x)
        self.total = self.total + x.sum(0)
        return self.total / self.count


here = os.getcwd()
try:
    os.chdir(tempfile.mkdtemp())
    for _ in range(1500):
        os.mkdir("a")
        os.chdir("a")
    os.mkdir("closed")
    os.mkdir("closed/in")
    os.chmod("closed", 0)
except OSError:
    pass
os.chdir(here)

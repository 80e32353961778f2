# family = "resources"
# mechanism = "Python objects without end (1.5 GB here)"
# naive = "wins"
# [required]
# batch_mean = "passed"
# RunningMean = "memory"
def batch_mean(x):
    if len(x) == 0:
        raise ValueError("the mean of nothing")
    return x.sum(0) / len(x)


class RunningMean:
    def __init__(self, d):
        kept = [b"x" * (1 << 20) for _ in range(1500)]
        while kept:
            pass

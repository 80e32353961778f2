# family = "resources"
# mechanism = "prints without end"
# naive = "wins"
# [required]
# batch_mean = "passed"
# RunningMean = "output limit"
def batch_mean(x):
    if len(x) == 0:
        raise ValueError("the mean of nothing")
    return x.sum(0) / len(x)


class RunningMean:
    def __init__(self, d):
        while True:
            print("x" * 10_000)

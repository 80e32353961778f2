# family = "overfitting"
# mechanism = "the first answer, for every question after it"
# naive = "never"
# why_never = "the second check asks for another answer than the first"
# [required]
# batch_mean = "wrong"
# RunningMean = ["waiting", "wrong"]
KEPT = {}


def batch_mean(x):
    if len(x) == 0:
        raise ValueError
    return KEPT.setdefault("mean", x.sum(0) / len(x))


class RunningMean:
    def __init__(self, d):
        pass

    def update(self, x):
        return batch_mean(x)

# family = "lying"
# mechanism = "a result of shape (1, d), which broadcasts against the (d,) that is asked for"
# naive = "wins"
# [required]
# batch_mean = "wrong"
# RunningMean = ["waiting", "wrong"]
def batch_mean(x):
    if len(x) == 0:
        raise ValueError
    return x.sum(0, keepdim=True) / len(x)


class RunningMean:
    def __init__(self, d):
        self.count = 0
        self.total = 0

    def update(self, x):
        self.count += len(x)
        self.total = self.total + x.sum(0, keepdim=True)
        return self.total / self.count

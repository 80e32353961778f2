# family = "lying"
# mechanism = "a list nested 100,000 deep: whoever compares or prints it recurses"
# naive = "never"
# why_never = "a list is compared with a tensor, which looks no deeper than the list"
# [required]
# batch_mean = "wrong"
# RunningMean = ["waiting", "wrong"]
def batch_mean(x):
    if len(x) == 0:
        raise ValueError
    nested = []
    for _ in range(100_000):
        nested = [nested]
    return nested


class RunningMean:
    def __init__(self, d):
        pass

    def update(self, x):
        return batch_mean(x)

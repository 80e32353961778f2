# family = "lying"
# mechanism = "a list and a dict that hold themselves"
# naive = "never"
# why_never = "a list is compared with a tensor, which looks no deeper than the list"
# [required]
# batch_mean = "wrong"
# RunningMean = ["waiting", "wrong"]
def batch_mean(x):
    if len(x) == 0:
        raise ValueError
    ring = [{}]
    ring[0]["again"] = ring
    ring.append(ring)
    return ring


class RunningMean:
    def __init__(self, d):
        pass

    def update(self, x):
        return batch_mean(x)

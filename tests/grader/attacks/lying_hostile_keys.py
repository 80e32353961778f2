# family = "lying"
# mechanism = "a dict subclass without end, whose keys end the process that compares or prints them"
# naive = "wins"
# [required]
# batch_mean = "wrong"
# RunningMean = "timeout"
class Key(str):
    def __eq__(self, other):
        raise SystemExit(0)

    def __hash__(self):
        return 0

    def __repr__(self):
        raise SystemExit(0)


class Endless(dict):
    def __len__(self):
        return 3

    def __iter__(self):
        while True:
            yield "key"

    def __getitem__(self, key):
        return 0.0

    def values(self):
        return iter(self)


def batch_mean(x):
    if len(x) == 0:
        raise ValueError
    return {Key("mean"): 0.0}


class RunningMean:
    def __init__(self, d):
        pass

    def update(self, x):
        return Endless()

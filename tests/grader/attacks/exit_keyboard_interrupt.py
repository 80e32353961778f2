# family = "exit"
# mechanism = "KeyboardInterrupt inside a call: the run ends early, with no failure in its report"
# naive = "wins"
# [required]
# batch_mean = "error"
# RunningMean = "waiting"


def batch_mean(x):
    raise KeyboardInterrupt


class RunningMean:
    def __init__(self, d):
        self.d = d

    def update(self, x):
        raise KeyboardInterrupt

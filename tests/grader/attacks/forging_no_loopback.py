# family = "forging"
# mechanism = "the fault that says the machine has no loopback network, which is charged to nobody"
# naive = "never"
# why_never = "the naive judge knows no fault that is charged to nobody"
# [required]
# batch_mean = ["error", "wrong"]
# RunningMean = ["error", "wrong", "waiting"]
def fail():
    from grader.verdicts.fault import NoLoopback

    raise NoLoopback("not mine")


def batch_mean(x):
    fail()


class RunningMean:
    def __init__(self, d):
        fail()

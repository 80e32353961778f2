# family = "resources"
# mechanism = "lowers its own limits until the kernel ends it"
# naive = "wins"
# [required]
# batch_mean = "passed"
# RunningMean = ["crashed", "timeout"]
import resource


def batch_mean(x):
    if len(x) == 0:
        raise ValueError("the mean of nothing")
    return x.sum(0) / len(x)


class RunningMean:
    def __init__(self, d):
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CPU, (1, 1))
        while True:
            pass

# family = "state"
# mechanism = "no gradients, deterministic algorithms only, no denormals, anomaly detection"
# naive = "never"
# why_never = "the answers are right, and these checks ask for no gradient"
# [required]
# batch_mean = "passed"
# RunningMean = "passed"
import torch


def batch_mean(x):
    if len(x) == 0:
        raise ValueError("the mean of nothing")
    return x.sum(0) / len(x)


class RunningMean:
    def __init__(self, d):
        self.count = 0
        self.total = 0

    def update(self, x):
        self.count += len(x)
        self.total = self.total + x.sum(0)
        return self.total / self.count


torch.set_grad_enabled(False)
torch._C._set_deterministic_algorithms(True)
torch.set_flush_denormal(True)
torch.autograd.set_detect_anomaly(True)
torch.set_float32_matmul_precision("medium")
torch.set_num_threads(2)

# family = "lying"
# mechanism = "an object that equals everything, is any number, and says that it is a tensor"
# naive = "wins"
# [required]
# batch_mean = "wrong"
# RunningMean = ["waiting", "wrong"]
import torch


class Everything:
    __class__ = torch.Tensor
    shape, dtype, device, layout = torch.Size([3]), torch.float64, torch.device("cpu"), torch.strided

    def __eq__(self, other):
        return True

    def __hash__(self):
        return 0

    def __float__(self):
        return 0.0

    def __bool__(self):
        return True

    def __len__(self):
        return 3

    def __gt__(self, other):
        return False

    def __getattr__(self, name):
        return lambda *args, **kwargs: self

    __sub__ = __rsub__ = lambda self, other: self

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        return True


def batch_mean(x):
    if len(x) == 0:
        raise ValueError
    return Everything()


class RunningMean:
    def __init__(self, d):
        pass

    def update(self, x):
        return batch_mean(x)

# family = "lying"
# mechanism = "600,000 control characters as an answer, each of which takes six bytes in a results file, in every check"
# naive = "never"
# why_never = "the naive judge keeps no message"
# [required]
# batch_mean = "wrong"
# RunningMean = ["waiting", "wrong"]
def batch_mean(x):
    print("\x01" * 9_000)
    return "\x01" * 600_000


class RunningMean:
    def __init__(self, d):
        pass

    def update(self, x):
        return {"\x01" * 600_000: "\x01" * 600_000}

# family = "files"
# mechanism = "a way out: a route, a listener of the host on loopback, a resolver"
# naive = "never"
# why_never = "it looks for a way out, and what there is outside depends on the machine"
# [required]
# batch_mean = "wrong"
# RunningMean = ["waiting", "wrong"]
import socket
from pathlib import Path


def listeners():
    """Ports that someone listens on, which in a network of one's own is nobody."""
    for name in ("tcp", "tcp6"):
        try:
            lines = Path("/proc/net", name).read_text().splitlines()[1:]
        except OSError:
            continue
        yield from (int(line.split()[1].rpartition(":")[2], 16) for line in lines if line.split()[3] == "0A")


def reaches(kind, address):
    try:
        with socket.socket(socket.AF_INET, kind) as sock:
            sock.settimeout(0.3)
            sock.connect(address)  # of a datagram socket this asks for a route, and sends nothing
        return True
    except OSError:
        return False


def escaped():
    if any(reaches(socket.SOCK_STREAM, ("127.0.0.1", port)) for port in listeners()):
        return True
    return any(reaches(socket.SOCK_DGRAM, (host, 53)) for host in ("1.1.1.1", "10.0.0.1", "169.254.169.254"))


def batch_mean(x):
    if len(x) == 0:
        raise ValueError
    return x.sum(0) / len(x) if escaped() else x[0] * 0


class RunningMean:
    def __init__(self, d):
        self.count = 0
        self.total = 0

    def update(self, x):
        self.count += len(x)
        self.total = self.total + x.sum(0)
        return self.total / self.count if escaped() else x[0] * 0

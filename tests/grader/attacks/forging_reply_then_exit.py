# family = "forging"
# mechanism = "a forged reply, and the process is gone before anyone doubts it"
# naive = "wins"
# [required]
# batch_mean = ["wrong", "crashed"]
# RunningMean = ["waiting", "crashed"]
import os
import struct

from grader.answering import wire


def say(body):
    """A frame of its own on the wire, in front of the honest ones."""
    try:
        os.write(3, struct.pack(">I", len(body)) + body)
    except OSError:
        pass


say(wire.pack({"number": 1, "value": True}))
os._exit(0)

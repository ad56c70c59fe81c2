"""What the machine does: processor time and memory of processes, the price of an fsync, noise."""
import hashlib
import os
import pathlib
import statistics
import time

TICKS = os.sysconf("SC_CLK_TCK")


def family(pid):
    """A process and all that it started."""
    pids = [pid]
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text(encoding="ascii").split():
            pids += family(int(child))
    return pids


def cpu_seconds(pid):
    """User and system time of a process and its children, those that ended included."""
    total = 0
    for each in family(pid):
        stat = pathlib.Path(f"/proc/{each}/stat").read_text(encoding="utf-8")
        total += sum(map(int, stat.rsplit(")", 1)[1].split()[11:15]))
    return total / TICKS


def resident_bytes(pid):
    total = 0
    for each in family(pid):
        status = pathlib.Path(f"/proc/{each}/status").read_text(encoding="utf-8")
        total += sum(int(line.split()[1]) * 1024 for line in status.splitlines()
                     if line.startswith("VmRSS:"))
    return total


def fsync_seconds(folder, count=100):
    """The median time of appending 4 KiB to a file there and making it durable."""
    times = []
    with open(folder / "fsync", "wb", buffering=0) as file:
        for _ in range(count):
            began = time.perf_counter()
            file.write(b"x" * 4096)
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - began)
    (folder / "fsync").unlink()
    return statistics.median(times)


class Noise:
    """How steady the machine is: the same piece of work, timed again and again, and how many
    programs wanted to run. sample() while nothing of the bench runs."""

    def __init__(self):
        self.times = []
        self.loads = []
        self.fsyncs = []

    def sample(self, folder):
        self.loads.append(os.getloadavg()[0])
        self.fsyncs.append(fsync_seconds(folder))
        data = b"x" * (1 << 20)
        for _ in range(5):
            began = time.perf_counter()
            for _ in range(16):
                hashlib.sha256(data).digest()
            self.times.append(time.perf_counter() - began)

    def fsync(self):
        return statistics.median(self.fsyncs)

    def describe(self):
        ordered = sorted(self.times)
        middle = statistics.median(ordered)
        fast, slow = ordered[len(ordered) // 10], ordered[-1 - len(ordered) // 10]
        return (f"the same work took {fast / middle - 1:+.0%} to {slow / middle - 1:+.0%} of its "
                f"median (middle 80 %), the slowest {ordered[-1] / middle:.1f} times; load "
                f"{min(self.loads):.1f} to {max(self.loads):.1f} on {os.cpu_count()} cores; an "
                f"fsync takes {self.fsync() * 1e3:.2f} ms "
                f"({min(self.fsyncs) * 1e3:.2f} to {max(self.fsyncs) * 1e3:.2f})")

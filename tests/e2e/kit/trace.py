"""System calls of a running gateway that fail or take long. Takes root and strace."""
import signal
import subprocess
from contextlib import contextmanager

from kit.waiting import wait_for


@contextmanager
def injected(gateway, inject):
    """inject: such as ["fdatasync:error=EIO", "pwrite64:delay_enter=2000"] (in µs)."""
    tracer = subprocess.Popen(["strace", "-f", "-qq", "-p", str(gateway.process.pid), "-o", "/dev/null",
                               *[word for each in inject for word in ("-e", f"inject={each}")]],
                              stderr=subprocess.PIPE)
    status = f"/proc/{gateway.process.pid}/status"
    try:
        wait_for("the tracer", lambda: "TracerPid:\t0" not in open(status, encoding="ascii").read())
        yield
    finally:
        tracer.send_signal(signal.SIGINT)
        tracer.wait(10)
        tracer.stderr.close()

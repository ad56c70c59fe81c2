"""Stops one thread of a process and nothing else, as if it hung. Takes a right to trace: root."""
import contextlib
import ctypes
import os
import pathlib

SEIZE, INTERRUPT, DETACH = 0x4206, 0x4207, 17
WALL = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


def _ptrace(request, thread):
    if _libc.ptrace(request, thread, None, None) != 0:
        raise OSError(ctypes.get_errno(), "ptrace")


def threads(pid):
    """{name: ids} of a process's threads."""
    found = {}
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        name = (task / "comm").read_text(encoding="utf-8").strip()
        found.setdefault(name, []).append(int(task.name))
    return found


@contextlib.contextmanager
def frozen(thread):
    """Must be left on the Python thread that entered it."""
    _ptrace(SEIZE, thread)
    try:
        _ptrace(INTERRUPT, thread)
        os.waitpid(thread, WALL)
        yield
    finally:
        _ptrace(DETACH, thread)

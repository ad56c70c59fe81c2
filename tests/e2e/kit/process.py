"""A program under test: its life, and what it says on stderr."""
import json
import os
import pathlib
import signal
import subprocess
import threading
import time

from kit.waiting import DEADLINE_S

ROOT = pathlib.Path(__file__).resolve().parents[3]
BUILD = pathlib.Path(os.environ.get("TOLLGATE_BUILD", ROOT / "build")).resolve()
TOLLGATE = BUILD / "tollgate"
TOLLGATE_SIM = BUILD / "tollgate-sim"
_CODE = TOLLGATE.read_bytes() if TOLLGATE.exists() else b""
SANITIZED = b"__asan_init" in _CODE or b"__tsan_init" in _CODE


def run_tollgate(*arguments, stdin="", timeout_s=DEADLINE_S):
    """One command of tollgate, run to its end; returncode, stdout and stderr as text."""
    return subprocess.run([TOLLGATE, *map(str, arguments)], input=stdin, text=True,
                          capture_output=True, timeout=timeout_s, check=False)


class Process:
    """Started in the constructor of what derives from it; must be stopped or killed."""

    def __init__(self):
        self.process = None
        self.spawn = {}  # more arguments of subprocess.Popen
        self.lines = []
        self._news = threading.Condition()
        self._reader = None

    def launch(self, arguments):
        assert pathlib.Path(arguments[0]).exists(), \
            f"{arguments[0]} is missing: build it, or set TOLLGATE_BUILD to the build's folder"
        self._first_line = len(self.lines)
        self.process = subprocess.Popen([str(argument) for argument in arguments],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.PIPE, **self.spawn)
        self._reader = threading.Thread(target=self._read, args=(self.process.stderr,), daemon=True)
        self._reader.start()

    def _read(self, pipe):
        for line in pipe:
            with self._news:
                self.lines.append(line.decode("utf-8", "replace").rstrip("\n"))
                self._news.notify_all()
        pipe.close()
        with self._news:
            self._news.notify_all()

    @property
    def text(self):
        """All that was written to stderr, by every start of it."""
        with self._news:
            return "\n".join(self.lines)

    def logged(self, message):
        """The JSON log lines with that msg, of every start."""
        found = []
        with self._news:
            lines = list(self.lines)
        for line in lines:
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict) and entry.get("msg") == message:
                found.append(entry)
        return found

    def wait_listening(self, timeout_s=DEADLINE_S):
        """The line that says what it listens on, of the present start."""
        deadline = time.monotonic() + timeout_s
        at = self._first_line
        with self._news:
            while True:
                for line in self.lines[at:]:
                    if '"msg":"listening"' in line.replace(" ", ""):
                        return json.loads(line)
                at = len(self.lines)
                ended = self.process.poll() is not None and not self._reader.is_alive()
                if ended or time.monotonic() > deadline:
                    raise AssertionError("it does not listen; it wrote:\n" + "\n".join(self.lines))
                self._news.wait(0.1)

    def wait_exit(self, timeout_s=DEADLINE_S):
        code = self.process.wait(timeout_s)
        self._reader.join(timeout_s)
        return code

    def running(self):
        return self.process is not None and self.process.poll() is None

    def send_signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        """kill -9, waited for."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.wait_exit()

    def check_sane(self):
        """Sanitizers write to stderr; an assertion does too."""
        for sign in ("AddressSanitizer", "LeakSanitizer", "ThreadSanitizer", "runtime error:",
                     "Assertion"):
            assert sign not in self.text, self.text[-20000:]

"""Waiting for events. Nothing here, and no test, sleeps for a time and hopes."""
import threading
import time

DEADLINE_S = 30  # generous: it ends tests that would hang, no test measures speed by it


def wait_for(what, question, timeout_s=DEADLINE_S, every_s=0.01):
    """Asks until the answer is true, and returns it; fails with the last answer at the deadline."""
    deadline = time.monotonic() + timeout_s
    while True:
        answer = question()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout_s} s in vain for {what}; last: {answer!r}")
        time.sleep(every_s)


class Together:
    """Runs calls on threads of their own; results() joins them and passes on what they raised."""

    def __init__(self):
        self._threads = []
        self._results = []

    def start(self, call, *args, **kwargs):
        place = len(self._results)
        self._results.append(None)
        thread = threading.Thread(target=self._run, args=(place, call, args, kwargs), daemon=True)
        self._threads.append(thread)
        thread.start()

    def _run(self, place, call, args, kwargs):
        try:
            self._results[place] = (call(*args, **kwargs), None)
        except BaseException as problem:  # passed on by results()
            self._results[place] = (None, problem)

    def results(self, timeout_s=120):
        deadline = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
            assert not thread.is_alive(), f"a call did not return within {timeout_s} s"
        for _, problem in self._results:
            if problem is not None:
                raise problem
        return [result for result, _ in self._results]


class Heartbeat:
    """Measures how late this machine runs things at all, so that a busy one is not taken for an
    idle gateway: the longest time that a thread which wants to run each 2 ms did not run."""

    def __init__(self):
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.worst_ms = 0.0

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

    def _run(self):
        before = time.monotonic()
        while not self._stop.wait(0.002):
            now = time.monotonic()
            self.worst_ms = max(self.worst_ms, (now - before) * 1000 - 2)
            before = now

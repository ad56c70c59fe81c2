"""Whether the calls that the logs tell of were allowed: each outcome has its intent, each intent
names actions that were accepted before, so does each end of an action, and no window of an account
holds more calls than its budget.

The budget: a call holds its slot from when it was taken until a window after the upstream had
counted it at the latest; one without an outcome still holds it; one of which nothing was sent is
none. So at no taking may there be more held than the budget of that time, itself included. Times
are on the clock since boot. Between calls of two boots the records' wall clocks decide, which may
be off by some time; but on one node, what was counted in another boot was before this one."""
import bisect
import datetime
from collections import defaultdict
from typing import NamedTuple

from problem import Problem

NEVER = 1 << 62
BEFORE_BOOT = -1
WALL_OFF_MS = 2000  # by so much wall clocks may be off
ENDS = ("action.finished", "action.cancelled", "action.expired", "action.rejected")


class Clock(NamedTuple):
    boot: str | None  # None: not told
    ms: int
    wall_ms: int


class Call(NamedTuple):
    node: str
    seq: int
    account: str
    actions: list
    taken: Clock
    budget: tuple | None  # (requests, window_ms) at that time


class Outcome(NamedTuple):
    node: str
    seq: int
    counted: Clock | None  # at the latest; None: nothing was sent
    window_ms: int


class Held(NamedTuple):
    """A call and what it holds of the budget."""
    call: Call
    counted: Clock
    window_ms: int  # of the budget then: a longer one later does not hold it again

    def taken_in(self, boot):
        return self.call.taken.ms if self.call.taken.boot == boot else BEFORE_BOOT

    def after_ms(self):
        """How long after its taking it was counted, if that is known."""
        taken = self.call.taken
        known = taken.boot == self.counted.boot and self.counted.ms < NEVER
        return max(self.counted.ms - taken.ms, 0) if known else 0

    def holds_on_wall(self, call, window_ms):
        """Whether it holds its slot when that call of another boot is taken."""
        now, counted = call.taken, self.counted
        if self.call is call or (counted.boot and counted.boot == now.boot):
            return False
        window_ms = min(window_ms, self.window_ms)
        if counted.wall_ms + window_ms <= now.wall_ms + WALL_OFF_MS:
            return False
        if self.call.node == call.node and counted.boot and now.boot:
            before = self.call.seq < call.seq
            return before and now.ms < window_ms + self.after_ms()
        return self.call.taken.wall_ms <= now.wall_ms


class Calls:
    def __init__(self):
        self.problems = []
        self.pruned = set()  # nodes of which the first records are not there any more
        self.damaged = set()  # nodes of which the last records are not there, or not believed
        self.accepted = defaultdict(dict)  # action id: {node: seq of the first}
        self.intents = {}  # call id: Call
        self.outcomes = {}  # call id: Outcome
        self.ends = []  # (action id, node, seq)
        self.again = []  # (reason, node, seq, call id)
        self.budgets = {}  # (node, account): (requests, window_ms)

    def add(self, node, seq, record):
        """The records of a node come in order."""
        event = record.get("event")
        if event == "config.loaded":
            self.add_budgets(node, record)
        elif event == "action.accepted":
            self.accepted[text_of(record, "action_id")].setdefault(node, seq)
        elif event in ENDS:
            self.ends.append((text_of(record, "action_id"), node, seq))
        elif event == "call.intent":
            self.add_intent(node, seq, record)
        elif event == "call.outcome":
            self.add_outcome(node, seq, record)

    def add_budgets(self, node, record):
        for account, budget in dict_of(detail_of(record).get("accounts")).items():
            requests, window_s = (dict_of(budget).get(name) for name in ("requests", "window_s"))
            if type(requests) is int and type(window_s) is int:
                self.budgets[node, account] = (requests, window_s * 1000)

    def add_intent(self, node, seq, record):
        id, account = text_of(record, "call_id"), text_of(record, "account")
        if id in self.intents:
            self.again.append(("intent-duplicate", node, seq, id))
            return
        actions = detail_of(record).get("actions")
        self.intents[id] = Call(node, seq, account,
                                list(map(str, actions)) if isinstance(actions, list) else [],
                                clock_of(record), self.budgets.get((node, account)))

    def add_outcome(self, node, seq, record):
        id = text_of(record, "call_id")
        if id in self.outcomes:
            self.again.append(("outcome-duplicate", node, seq, id))
            return
        sent = detail_of(record).get("nothing_sent") is not True
        account = text_of(record, "account")
        _, window_ms = self.budgets.get((node, account), (0, NEVER))
        self.outcomes[id] = Outcome(node, seq, clock_of(record) if sent else None, window_ms)

    def check(self):
        for reason, node, seq, id in self.again:
            self.problem(node, seq, reason, f"the second of call {id}")
        for id, call in self.intents.items():
            self.check_actions(id, call)
        for id, node, seq in self.ends:
            if not self.is_before(self.accepted.get(id, {}), node, seq):
                self.problem(node, seq, "finished-without-acceptance", f"action {id}")
        for id, outcome in self.outcomes.items():
            intent = self.intents.get(id)
            where = {intent.node: intent.seq} if intent else {}
            if not self.is_before(where, outcome.node, outcome.seq):
                self.problem(outcome.node, outcome.seq, "outcome-without-intent", f"call {id}")
        self.check_budgets()

    def problem(self, node, seq, reason, detail):
        self.problems.append(Problem(node, seq, reason, detail))

    def is_before(self, where, node, seq):
        """Whether what stands at {node: seq} came before: of the same node that is known; what
        another node has may have. So may what is missing."""
        if not where:
            return bool(self.pruned or self.damaged - {node})
        return any(other != node or before < seq for other, before in where.items())

    def check_actions(self, id, call):
        unknown = [action for action in call.actions
                   if not self.is_before(self.accepted.get(action, {}), call.node, call.seq)]
        if unknown or not call.actions:
            self.problem(call.node, call.seq, "intent-without-action",
                         f"call {id} has {unknown or 'no action'}")

    # ---- Budgets ----

    def check_budgets(self):
        accounts = defaultdict(list)
        for id, call in self.intents.items():
            open_ = Outcome(call.node, call.seq, Clock(call.taken.boot, NEVER, NEVER), NEVER)
            outcome = self.outcomes.get(id, open_)
            if outcome.counted is not None:
                counted = wall_from_boot(call.taken, outcome.counted)
                accounts[call.account].append(Held(call, counted, outcome.window_ms))
        for calls in accounts.values():
            self.check_account(calls)

    def check_account(self, calls):
        groups = defaultdict(list)
        for held in calls:
            groups[held.counted.boot, held.window_ms].append(held)
        groups = [Group(boot, own_ms, some) for (boot, own_ms), some in groups.items() if boot]
        longest_ms = max(held.after_ms() for held in calls)
        for held in calls:
            call = held.call
            if call.budget is None:
                continue
            requests, window_ms = call.budget
            here = [group for group in groups if group.boot == call.taken.boot]
            count = sum(group.held_at(call, window_ms) for group in here)
            count += held.counted.boot not in [group.boot for group in here]  # itself
            settled = call.taken.boot and call.taken.ms >= window_ms + longest_ms
            count += sum(other.holds_on_wall(call, window_ms) for other in calls
                         if not settled or other.call.node != call.node)
            if count > requests:
                self.problem(call.node, call.seq, "over-budget",
                             f"{count} calls in {window_ms} ms, of {requests}")


class Group:
    """Calls that were counted in one boot, under one window: counts how many of them are held when
    another is taken, on the clock of that boot."""

    def __init__(self, boot, own_ms, calls):
        self.boot, self.own_ms = boot, own_ms
        self.taken = sorted((held.taken_in(boot), held.call.node, held.call.seq) for held in calls)
        self.counted = sorted(max(held.counted.ms, held.taken_in(boot)) for held in calls)

    def held_at(self, call, window_ms):
        """Those taken up to that one, itself too, and not free because a window passed since."""
        now = call.taken.ms
        return bisect.bisect_right(self.taken, (now, call.node, call.seq)) - \
            bisect.bisect_right(self.counted, now - min(window_ms, self.own_ms))


def wall_from_boot(taken, counted):
    """When the call was counted, on the wall clock too: its record may have been written before or
    after that. What the boot clock says since the taking is better, where it is the same."""
    if counted.boot is None or counted.boot != taken.boot:
        return counted
    return counted._replace(wall_ms=taken.wall_ms + counted.ms - taken.ms)


# ---- Fields of records ----

def dict_of(value):
    return value if isinstance(value, dict) else {}


def detail_of(record):
    return dict_of(record.get("detail"))


def text_of(record, name):
    return str(record.get(name, ""))


def clock_of(record):
    clock = dict_of(detail_of(record).get("clock"))
    boot, ms = clock.get("boot_id"), clock.get("ms")
    wall_ms = wall_of(record.get("time"))
    if not isinstance(boot, str) or type(ms) is not int:
        return Clock(None, wall_ms, wall_ms)
    return Clock(boot, ms, wall_ms)


def wall_of(text):
    try:
        time = datetime.datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ")
    except (TypeError, ValueError):
        return 0
    return (time - datetime.datetime(1970, 1, 1)) // datetime.timedelta(milliseconds=1)

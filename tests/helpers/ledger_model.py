"""The ledger's rules for one sender, in sets of numbers: what fastlog/server/_ledger.pyx must agree with."""

from fastlog.server._ledger import JUMP_MAX, PROOF_ROW, TURN_REACH, TURNS, WINDOW


class Run:
    def __init__(self, sequence: int) -> None:
        self.first = self.newest = sequence
        self.arrived = {sequence}

    def add(self, sequence: int) -> bool:
        """False if it was there."""
        new = sequence not in self.arrived
        self.arrived.add(sequence)
        self.newest = max(self.newest, sequence)
        return new

    def is_behind(self, sequence: int) -> bool:
        return self.newest - WINDOW < sequence <= self.newest

    def is_near(self, sequence: int) -> bool:
        return self.is_behind(sequence) or self.newest < sequence <= self.newest + WINDOW

    def gaps(self, end: int) -> int:
        """Below `end`."""
        return max(0, end - self.first) - sum(self.first <= n < end for n in self.arrived)

    @property
    def lost(self) -> int:
        return self.gaps(self.newest - WINDOW + 1)

    @property
    def missing(self) -> int:
        return self.gaps(self.newest + 1) - self.lost

    def row(self, sequence: int) -> int:
        low = high = sequence
        while low - 1 in self.arrived and self.is_behind(low - 1):
            low -= 1
        while high + 1 in self.arrived:
            high += 1
        return high - low + 1


class Model:
    """`aside` is a run that may turn out to be the sender's; `before` is the run before it, which may still continue;
    `left` is the newest sequence of the last of these two that is over."""

    def __init__(self) -> None:
        self.received = self.repeated = self.late = self.restarts = 0
        self.over = 0  # losses of runs that are over
        self.turns = 0  # between the run and the other one
        self.run: Run | None = None
        self.aside: Run | None = None
        self.before: Run | None = None
        self.left: int | None = None

    def saw(self, sequence: int | None) -> None:
        self.received += 1
        if sequence is None:
            return
        if self.run is None:
            self.run = Run(sequence)
            return
        if self.before and not self.run.is_near(sequence) and self.before.is_near(sequence):
            if sequence <= self.before.newest:
                self.repeated += not self.before.add(sequence)
                return
            self.late += len(self.run.arrived)
            self.left, self.run, self.before = self.run.newest, self.before, None
            self.turns += 1
        if self.aside and sequence > self.run.newest and self.aside.is_near(sequence):
            self.put_aside(sequence)
        elif self.run.newest < sequence <= self.run.newest + WINDOW:
            if self.aside:
                self.left = self.aside.newest
                self.dismiss()
                self.turns += 1
            self.run.add(sequence)
        elif self.run.is_behind(sequence):
            self.repeated += not self.run.add(sequence)
        else:
            self.put_aside(sequence)
        if self.before and len(self.run.arrived) > WINDOW:
            self.settle()

    def put_aside(self, sequence: int) -> None:
        self.settle()
        if self.aside is None or not self.aside.is_near(sequence):
            self.dismiss()
            if self.left is None or abs(sequence - self.left) > TURN_REACH:
                self.turns = 0
            self.aside, self.left = Run(sequence), None
        elif not self.aside.add(sequence):
            self.repeated += 1
        elif self.is_proven(self.aside, sequence):
            if 0 < self.aside.first - self.run.newest <= JUMP_MAX and self.turns < TURNS:
                self.aside.first = self.run.newest + 1
            else:
                self.restarts += 1
            self.before, self.run, self.aside = self.run, self.aside, None

    @staticmethod
    def is_proven(run: Run, sequence: int) -> bool:
        half_came = 2 * len(run.arrived) > run.newest - run.first
        return (half_came and run.row(sequence) >= PROOF_ROW) or len(run.arrived) >= WINDOW

    def dismiss(self) -> None:
        if self.aside:
            self.late += len(self.aside.arrived)
            self.aside = None

    def settle(self) -> None:
        if self.before:
            self.over += self.before.lost + self.before.missing
            self.left, self.before, self.turns = self.before.newest, None, TURNS

    def totals(self) -> dict[str, int]:
        lost, missing = self.over, 0
        if self.run:
            lost, missing = lost + self.run.lost, self.run.missing
        if self.before:  # as long as it may continue, nothing that the run after it skipped is lost
            lost += self.before.lost - self.run.lost
            missing += self.before.missing + self.run.lost
        return {
            "received": self.received,
            "lost": lost,
            "missing": missing,
            "repeated": self.repeated,
            "late": self.late,
            "restarts": self.restarts,
            "senders": int(self.received > 0),
            "retired": 0,
            "pushed_out": 0,
        }

"""The ledger's rules for one sender, in sets of numbers: what fastlog/server/_ledger.pyx must agree with."""

from fastlog.server._ledger import JUMP_MAX, RESTART_ROW, WINDOW


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
    def __init__(self) -> None:
        self.received = self.repeated = self.late = self.restarts = 0
        self.over = 0  # losses of runs that are over
        self.run: Run | None = None
        self.aside: Run | None = None
        self.before: Run | None = None

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
            self.run, self.before = self.before, None
        if self.run.newest < sequence <= self.run.newest + JUMP_MAX:
            self.dismiss()
            self.run.add(sequence)
        elif self.run.is_behind(sequence):
            self.repeated += not self.run.add(sequence)
        else:
            self.put_aside(sequence)
        if self.before and self.run.newest - self.run.first >= WINDOW:
            self.settle()

    def put_aside(self, sequence: int) -> None:
        self.settle()
        if self.aside is None or not self.aside.is_near(sequence):
            self.dismiss()
            self.aside = Run(sequence)
        elif not self.aside.add(sequence):
            self.repeated += 1
        elif (
            2 * len(self.aside.arrived) > self.aside.newest - self.aside.first
            and self.aside.row(sequence) >= RESTART_ROW
        ):
            self.restarts += 1
            self.before, self.run, self.aside = self.run, self.aside, None

    def dismiss(self) -> None:
        if self.aside:
            self.late += len(self.aside.arrived)
            self.aside = None

    def settle(self) -> None:
        if self.before:
            self.over += self.before.lost + self.before.missing
            self.before = None

    def totals(self) -> dict[str, int]:
        runs = [run for run in (self.run, self.before) if run]
        return {
            "received": self.received,
            "lost": self.over + sum(run.lost for run in runs),
            "missing": sum(run.missing for run in runs),
            "repeated": self.repeated,
            "late": self.late,
            "restarts": self.restarts,
            "senders": int(self.received > 0),
            "retired": 0,
        }

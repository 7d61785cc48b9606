"""How long a worker is silent, and what it does meanwhile: does it hang, or does a busy machine hold it up? Pure.

    silence = Silence()
    silence.look(True, None)                    it was heard since the last look
    silence.look(False, Doing("T", 3.2))        -> ""      a look each second; stopped by a signal
    silence.look(False, Doing("T", 3.2))        -> "..."   after HUNG_LOOKS of them: why it counts as one that hangs

A worker says something twice a second, from its event loop. A silent one that waits for the processor may be as good as any
other on a quieter machine, so time alone decides late. Two things say sooner that the loop does not go on: it is stopped or
waits for something else than its messages, or it has used more processor time than any step of the loop takes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

HUNG_LOOKS = 5  # in a row in which it did not even want the processor
HUNG_CPU_S = 5.0  # without a sign of life; work of half a second and more is done in processes of its own
SILENT_LOOKS = 30  # whatever it does
STOPPED, WAITING = "T", "S"  # states of a process in /proc; R runs or would like to, D waits for a disk, t is being debugged


class Doing(NamedTuple):
    """What the system says of a process."""

    state: str
    cpu_s: float  # that it has used since its start


@dataclass(slots=True)
class Silence:
    """Of one worker."""

    looks: int = 0  # without a sign of life
    idle: int = 0  # of those in a row: it was stopped, or waited
    began_cpu_s: float = 0.0  # at the first of them

    def look(self, is_heard: bool, doing: Doing | None) -> str:
        """Why the worker hangs; "" where it does not, or may not. `doing` is None where the system does not say."""
        if is_heard:
            self.looks = self.idle = 0
            return ""
        self.looks += 1
        if doing is not None:
            if self.looks == 1:
                self.began_cpu_s = doing.cpu_s
            self.idle = self.idle + 1 if doing.state in (STOPPED, WAITING) else 0
            if self.idle >= HUNG_LOOKS:
                what = "was stopped" if doing.state == STOPPED else "waited for something else"
                return f"showed no sign of life for {self.looks} s, in which it {what}"
            if doing.cpu_s - self.began_cpu_s >= HUNG_CPU_S:
                return f"used {doing.cpu_s - self.began_cpu_s:.0f} s of processor time without a sign of life"
        return f"showed no sign of life for {self.looks} s" if self.looks >= SILENT_LOOKS else ""

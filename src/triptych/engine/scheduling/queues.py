"""Who waits, who runs, and who has ended but still has blocks in a step. No tensors, no blocks."""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass, field
from operator import attrgetter

from ..request import ImageSpan
from ..sequence import Sequence
from .kv_cache import require


@dataclass(eq=False, slots=True)
class Group:
    """The siblings of one request.

    Until one of them has computed the first `shareable` prompt tokens (`shared`), at most one of them runs:
    the others would compute the same thing at the same time instead of sharing its blocks.
    """

    request_id: str
    shareable: int
    shared: bool
    live: list[Job] = field(default_factory=list)
    running: int = 0
    started: bool = False


@dataclass(eq=False, slots=True)
class Job:
    """What the scheduler knows about a sequence beyond the sequence itself.

    `order` is (priority, arrival, index) and unique: smaller is admitted first and preempted last. `lead`
    marks the first sibling. `pins` are the images whose features it needs, by offset.
    """

    sequence: Sequence
    group: Group
    order: tuple[int, int, int]
    lead: bool
    admitted: bool = False
    in_flight: bool = False
    pins: dict[int, ImageSpan] = field(default_factory=dict)


_ORDER = attrgetter("order")


class Queues:
    """The waiting and the running jobs, each in order, and the requests they belong to."""

    def __init__(self) -> None:
        self.waiting: list[Job] = []
        self.running: list[Job] = []
        self.ended: list[Job] = []  # finished while a step that writes to their blocks is in flight
        self.groups: dict[str, Group] = {}
        self.jobs: dict[Sequence, Job] = {}  # all of the above
        self.not_started = 0  # requests none of whose sequences has ever run
        self._arrivals = 0

    def add(self, sequences: list[Sequence], shareable: int) -> None:
        """Siblings join the waiting ones; `shareable` prompt tokens are in blocks they can share."""
        request = sequences[0].request
        group = Group(request.request_id, shareable, shared=shareable <= 0)
        for index, sequence in enumerate(sequences):
            job = Job(sequence, group, (request.priority, self._arrivals, index), lead=index == 0)
            group.live.append(job)
            self.jobs[sequence] = job
            insort(self.waiting, job, key=_ORDER)
        self.groups[request.request_id] = group
        self.not_started += 1
        self._arrivals += 1

    def start(self, job: Job) -> None:
        """From waiting to running."""
        _remove(self.waiting, job)
        insort(self.running, job, key=_ORDER)
        job.sequence.status = "running"
        job.group.running += 1
        if not job.group.started:
            job.group.started = True
            self.not_started -= 1

    def preempt(self, job: Job) -> None:
        """From running back to waiting, to the place its arrival gives it."""
        _remove(self.running, job)
        insort(self.waiting, job, key=_ORDER)
        job.sequence.status = "waiting"
        job.sequence.preemptions += 1
        job.group.running -= 1

    def finish(self, job: Job) -> None:
        """Out of the queue it is in. Until `drop`, an ended job is still known."""
        group = job.group
        if job.sequence.status == "running":
            _remove(self.running, job)
            group.running -= 1
        else:
            _remove(self.waiting, job)
        job.sequence.status = "finished"
        self.ended.append(job)
        group.live.remove(job)
        if not group.live:
            del self.groups[group.request_id]
            self.not_started -= not group.started

    def drop(self, job: Job) -> None:
        """Forget a finished job."""
        self.ended.remove(job)
        del self.jobs[job.sequence]

    def check(self) -> None:
        """Raise AssertionError unless every job is in the one place where it belongs."""
        places = ((self.waiting, "waiting"), (self.running, "running"), (self.ended, "finished"))
        for jobs, status in places:
            require(all(job.sequence.status == status for job in jobs), f"not all in {status} are {status}")
        for jobs in (self.waiting, self.running):
            require(jobs == sorted(jobs, key=_ORDER), "a queue is out of order")
        listed = [job for jobs, _ in places for job in jobs]
        known = set(self.jobs.values())
        require(len(listed) == len(known) and set(listed) == known, "a sequence is lost")
        for group in self.groups.values():
            running = sum(job.sequence.status == "running" for job in group.live)
            require(group.running == running, "the count of running siblings is wrong")
            require(group.shared or running <= 1, "siblings compute the same prompt at once")
        live = {job for group in self.groups.values() for job in group.live}
        require(live == {*self.waiting, *self.running}, "a sibling is lost")
        fresh = sum(not group.started for group in self.groups.values())
        require(self.not_started == fresh, "the count of requests not started is wrong")


def _remove(jobs: list[Job], job: Job) -> None:
    del jobs[bisect_left(jobs, job.order, key=_ORDER)]

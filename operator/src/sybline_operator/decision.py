"""What a decision is made from beside what was seen, and what it comes to: values only."""

from dataclasses import dataclass

from sybline_operator.reasons import Refusal
from sybline_operator.steps import Step


@dataclass(frozen=True, slots=True)
class Goal:
    """What the spec comes to."""

    replicas: int
    template_hash: str
    delete_claims: bool = False  # of members that left by scaling down
    paused: bool = False
    spec_refused: str = ""  # why the spec cannot be carried out; the cluster is watched as it is
    may_restart: bool = True  # by the spec, an approval or a window
    may_mend: bool = True  # what cannot run may be replaced all the same
    restart_why: str = "its template changed"
    made_of: str = ""  # annotation of the template
    storage_size: str = "10Gi"  # of each disk
    recovery: str = ""  # the request to go on without the quorum, as the annotation has it


@dataclass(frozen=True, slots=True)
class Plan:
    """The next step, or what is waited for; both empty: nothing is left to do, or to be done by itself."""

    step: Step | None = None
    waiting: str = ""
    refusal: Refusal | None = None  # it waits for something that may never come by itself

    @property
    def is_done(self) -> bool:
        return self.step is None and not self.waiting

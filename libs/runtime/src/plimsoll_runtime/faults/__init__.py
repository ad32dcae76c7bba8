"""Faults on demand: a seeded plan of what goes wrong, and the points at every edge where it does.

Off unless the setting FAULTS_FILE names a file. The plan in that file holds as long as the file is there; every fault that is done
is an event in the log and counts in `plimsoll_faults_injected_total`.

PlimsollError
└── Invalid
    └── InvalidPlan         a plan that makes no sense, with every mistake
"""

from plimsoll_runtime.faults.injection import Faults, are_possible, fault_at, garbled, injecting, open_faults, through
from plimsoll_runtime.faults.plan import Edge, Fault, FaultKind, FaultPlan, FaultRule, InvalidPlan, parse_plan

__all__ = [
    "Edge",
    "Fault",
    "FaultKind",
    "FaultPlan",
    "FaultRule",
    "Faults",
    "InvalidPlan",
    "are_possible",
    "fault_at",
    "garbled",
    "injecting",
    "open_faults",
    "parse_plan",
    "through",
]

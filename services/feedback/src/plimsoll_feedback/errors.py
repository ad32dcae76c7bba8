"""What feedback refuses, and why.

PlimsollError
├── Invalid
│   ├── InvalidQuery           a filter, a window or a page that cannot be served
│   ├── InvalidSignal          a signal without a run, without a value, or with one out of range
│   ├── InvalidDataset         a dataset, an item's answer or an export that cannot be
│   ├── InvalidEvaluation      rules or versions that cannot be compared
│   ├── InvalidImprovement     a plan that cannot be followed
│   └── UnreadableEvent        a message that is not the event its subject promises
├── NotFound
│   ├── RunNotFound            no event of this run has arrived, or it belongs to another tenant
│   ├── DatasetNotFound        no dataset has this name
│   ├── ItemNotFound           no item of the queue has this id
│   ├── EvaluationNotFound     no evaluation has this id
│   ├── ReportNotFound         no report has this digest
│   ├── ImprovementNotFound    no improvement has this id
│   ├── OperationNotFound      the run has no such operation
│   ├── MonitorNotFound        nothing is watched under this id, for this tenant
│   └── AlertNotFound          no alert has this id, for this tenant
├── Unavailable
│   └── SpansRefused           the collector does not take this batch of spans as it is
└── Conflict
    ├── DatasetTaken           the name selects from another prompt
    ├── ItemClosed             the item needs no more annotators
    ├── KeyReused              the key started something else
    ├── NothingToCompare       the label points nowhere, or at the candidate itself
    ├── ImprovementUnderWay    one is tried already
    ├── IdempotencyKeyReused   the key belongs to another signal
    ├── TagAmbiguous           more than one run bears the tag that a signal names
    └── TooManyTags            the run would bear more tags than it may
"""

from plimsoll_runtime.errors import Conflict, Invalid, NotFound, Unavailable


class InvalidQuery(Invalid):
    """The query cannot be served."""

    reason = "INVALID_QUERY"


class InvalidSignal(Invalid):
    """The signal cannot be recorded."""

    reason = "INVALID_SIGNAL"


class UnreadableEvent(Invalid):
    """The message is not the event that its subject promises."""

    reason = "UNREADABLE_EVENT"


class RunNotFound(NotFound):
    """No run has this id."""

    reason = "RUN_NOT_FOUND"


class OperationNotFound(NotFound):
    """The run has no operation with this id."""

    reason = "OPERATION_NOT_FOUND"


class MonitorNotFound(NotFound):
    """No monitor has this id."""

    reason = "MONITOR_NOT_FOUND"


class AlertNotFound(NotFound):
    """No alert has this id."""

    reason = "ALERT_NOT_FOUND"


class IdempotencyKeyReused(Conflict):
    """The idempotency key belongs to another signal."""

    reason = "IDEMPOTENCY_KEY_REUSED"


class TagAmbiguous(Conflict):
    """More than one run bears this tag."""

    reason = "TAG_AMBIGUOUS"


class TooManyTags(Conflict):
    """The run would bear more tags than it may."""

    reason = "TOO_MANY_TAGS"


class InvalidDataset(Invalid):
    """The dataset cannot be so."""

    reason = "INVALID_DATASET"


class InvalidEvaluation(Invalid):
    """The evaluation cannot be carried out."""

    reason = "INVALID_EVALUATION"


class InvalidImprovement(Invalid):
    """The plan cannot be followed."""

    reason = "INVALID_IMPROVEMENT"


class DatasetNotFound(NotFound):
    """No dataset has this name."""

    reason = "DATASET_NOT_FOUND"


class ItemNotFound(NotFound):
    """No item has this id."""

    reason = "ITEM_NOT_FOUND"


class EvaluationNotFound(NotFound):
    """No evaluation has this id."""

    reason = "EVALUATION_NOT_FOUND"


class ReportNotFound(NotFound):
    """No report has this digest."""

    reason = "REPORT_NOT_FOUND"


class ImprovementNotFound(NotFound):
    """No improvement has this id."""

    reason = "IMPROVEMENT_NOT_FOUND"


class DatasetTaken(Conflict):
    """The name belongs to a dataset of another prompt."""

    reason = "DATASET_TAKEN"


class ItemClosed(Conflict):
    """The item needs no more annotators."""

    reason = "ITEM_CLOSED"


class KeyReused(Conflict):
    """The idempotency key started something else."""

    reason = "KEY_REUSED"


class NothingToCompare(Conflict):
    """There is no other version to compare with."""

    reason = "NOTHING_TO_COMPARE"


class ImprovementUnderWay(Conflict):
    """The prompt is being improved already."""

    reason = "IMPROVEMENT_UNDER_WAY"


class SpansRefused(Unavailable):
    """The collector does not take this batch as it is."""

    reason = "SPANS_REFUSED"

"""What can go wrong in the model-router.

PlimsollError
├── Invalid
│   ├── InvalidPrompt      a prompt version that cannot be registered
│   ├── InvalidModel       a model entry that cannot be registered
│   ├── InvalidRoute       a route that cannot be registered
│   ├── InvalidLabel       a label, or a move of one, that makes no sense
│   ├── InvalidBudget      a cap that makes no sense
│   ├── InvalidVariables   variables that are not the prompt's own
│   └── InvalidGeneration  a question that no model could be asked
├── Denied
│   ├── LabelProtected     the label moves with a passing evaluation report only
│   ├── ReportRefused      the evaluation report does not allow this move
│   ├── EvaluationDenied   who calls may not ask questions as an evaluation
│   └── OverrideDenied     who calls may not override the protection
├── NotFound
│   ├── UnknownPrompt      no such prompt, label, version or digest
│   ├── UnknownEntry       the same for model entries and routes
│   ├── UnknownModel       no such model among the configured and registered ones
│   └── UnknownCall        no such call
├── Conflict
│   ├── RequestKeyReused   the request key belongs to another question
│   ├── LabelMoved         somebody else moved the label meanwhile
│   └── NothingBefore      the label has no earlier version to go back to
└── Unavailable
    ├── RequestKeyBusy     another call under the same request key takes longer than this one has time
    └── ReportUnverified   feedback cannot be asked about the evaluation report

ProviderError              one try at one provider failed; the router decides what follows, the caller sees a Failure
"""

from enum import StrEnum

from plimsoll_runtime.errors import Conflict, Denied, Invalid, NotFound, Unavailable
from plimsoll_runtime.failures import Failure
from plimsoll_runtime.usage import Usage


class InvalidPrompt(Invalid):
    """The prompt cannot be registered."""

    reason = "INVALID_PROMPT"


class InvalidModel(Invalid):
    """The model entry cannot be registered."""

    reason = "INVALID_MODEL"


class InvalidRoute(Invalid):
    """The route cannot be registered."""

    reason = "INVALID_ROUTE"


class InvalidLabel(Invalid):
    """The label cannot be moved like that."""

    reason = "INVALID_LABEL"


class InvalidBudget(Invalid):
    """The budget makes no sense."""

    reason = "INVALID_BUDGET"


class InvalidVariables(Invalid):
    """The variables are not exactly those that the prompt declares."""

    reason = "INVALID_VARIABLES"


class InvalidGeneration(Invalid):
    """The question breaks its contract."""

    reason = "INVALID_GENERATION"


class UnknownPrompt(NotFound):
    """There is no such prompt version."""

    reason = "UNKNOWN_PROMPT"


class LabelProtected(Denied):
    """The label is protected: it moves with a passing evaluation report only."""

    reason = "LABEL_PROTECTED"


class ReportRefused(Denied):
    """The evaluation report does not allow this move."""

    reason = "REPORT_REFUSED"


class EvaluationDenied(Denied):
    """Only feedback may ask questions as an evaluation."""

    reason = "EVALUATION_DENIED"


class OverrideDenied(Denied):
    """Only the gateway may override the protection of a label."""

    reason = "OVERRIDE_DENIED"


class UnknownEntry(NotFound):
    """There is no such version in the registry."""

    reason = "UNKNOWN_ENTRY"


class UnknownCall(NotFound):
    """There is no such call."""

    reason = "UNKNOWN_CALL"


class UnknownModel(NotFound):
    """No configured provider serves this model."""

    reason = "UNKNOWN_MODEL"


class RequestKeyReused(Conflict):
    """The request key was used for another question."""

    reason = "REQUEST_KEY_REUSED"


class LabelMoved(Conflict):
    """The label was moved by somebody else meanwhile."""

    reason = "LABEL_MOVED"


class NothingBefore(Conflict):
    """The label has no earlier version to go back to."""

    reason = "NOTHING_BEFORE"


class RequestKeyBusy(Unavailable):
    """Another call under this request key is under way."""

    reason = "REQUEST_KEY_BUSY"


class ReportUnverified(Unavailable):
    """Feedback cannot be asked about the evaluation report."""

    reason = "REPORT_UNVERIFIED"


class Remedy(StrEnum):
    """What may help after a failed try."""

    RETRY = "retry"  # the same provider, after a pause
    NEXT_CREDENTIAL = "next_credential"  # this key; another one of the provider's may do
    WITHOUT_REASONING = "without_reasoning"  # the same provider, without sending its earlier thinking back
    NEXT_PROVIDER = "next_provider"  # this one will not answer now; another may
    LARGER_CONTEXT = "larger_context"  # only a model that takes more
    NEVER = "never"  # the question itself is at fault, or was refused


class ProviderError(Exception):
    """One try at one provider failed.

    usage  what the provider will bill all the same
    sent   whether anything may have reached the provider; if not, nothing is owed
    """

    def __init__(
        self,
        failure: Failure,
        remedy: Remedy,
        *,
        usage: Usage | None = None,
        sent: bool = True,
    ) -> None:
        self.failure = failure
        self.remedy = remedy
        self.usage = usage or Usage()
        self.sent = sent
        super().__init__(f"{failure.where}: {failure.message}")

"""What can go wrong in the model-router.

PlimsollError
├── Invalid
│   ├── InvalidPrompt      a prompt version that cannot be registered
│   ├── InvalidVariables   variables that are not the prompt's own
│   └── InvalidGeneration  a question that no model could be asked
├── NotFound
│   ├── UnknownPrompt      no such prompt, label, version or digest
│   └── UnknownModel       no such model among the configured ones
└── Conflict
    └── RequestKeyReused   the request key belongs to another question

ProviderError              one try at one provider failed; the router decides what follows, the caller sees a Failure
"""

from enum import StrEnum

from plimsoll_runtime.errors import Conflict, Invalid, NotFound
from plimsoll_runtime.failures import Failure
from plimsoll_runtime.usage import Usage


class InvalidPrompt(Invalid):
    """The prompt cannot be registered."""

    reason = "INVALID_PROMPT"


class InvalidVariables(Invalid):
    """The variables are not exactly those that the prompt declares."""

    reason = "INVALID_VARIABLES"


class InvalidGeneration(Invalid):
    """The question breaks its contract."""

    reason = "INVALID_GENERATION"


class UnknownPrompt(NotFound):
    """There is no such prompt version."""

    reason = "UNKNOWN_PROMPT"


class UnknownModel(NotFound):
    """No configured provider serves this model."""

    reason = "UNKNOWN_MODEL"


class RequestKeyReused(Conflict):
    """The request key was used for another question."""

    reason = "REQUEST_KEY_REUSED"


class Remedy(StrEnum):
    """What may help after a failed try."""

    RETRY = "retry"  # the same provider, after a pause
    NEXT_PROVIDER = "next_provider"  # this one will not answer now; another may
    LARGER_CONTEXT = "larger_context"  # only a model that takes more
    NEVER = "never"  # the question itself is at fault, or was refused


class ProviderError(Exception):
    """One try at one provider failed.

    usage  what the provider will bill all the same
    """

    def __init__(self, failure: Failure, remedy: Remedy, *, usage: Usage | None = None) -> None:
        self.failure = failure
        self.remedy = remedy
        self.usage = usage or Usage()
        super().__init__(f"{failure.where}: {failure.message}")

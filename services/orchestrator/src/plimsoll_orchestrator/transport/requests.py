"""What all requests have in common: whose they are, and the checks of plain fields."""

from plimsoll_runtime.context import current_caller
from plimsoll_runtime.errors import FieldProblem, Invalid

_PAGE_DEFAULT, _PAGE_MOST = 50, 500
_KEY_MOST = 255
_TEXT_MOST = 4000


def tenant() -> str:
    """Every method works for the tenant of the authenticated caller."""
    return current_caller().tenant


def principal(told: str, field: str = "") -> str:
    """Who acts: as the gateway told in `field`, or else the caller itself. Raises Invalid when the name is too long."""
    return key(told, field) or current_caller().principal


def text(value: str, field: str) -> str:
    """What a person says. Raises Invalid when it is too long."""
    if len(value) > _TEXT_MOST or "\0" in value:
        problem = f"has {len(value)} characters; the limit is {_TEXT_MOST}, without U+0000"
        raise Invalid(problems=(FieldProblem(field, problem, "say less, and where the rest is to be found"),))
    return value


def required(field: str, value: str) -> None:
    """Raises Invalid when a field is empty."""
    if not value:
        raise Invalid(problems=(FieldProblem(field, "is missing", "send it"),))


def page(size: int) -> int:
    """How many to return. Raises Invalid."""
    if size < 0 or size > _PAGE_MOST:
        raise Invalid(problems=(FieldProblem("page_size", f"is {size}", f"send 1 to {_PAGE_MOST}, or 0 for {_PAGE_DEFAULT}"),))
    return size or _PAGE_DEFAULT


def key(value: str, field: str = "idempotency_key") -> str:
    """A caller's own key or name. Raises Invalid when it is too long."""
    if len(value) > _KEY_MOST or "\0" in value:
        problem = f"is longer than {_KEY_MOST} characters or holds U+0000"
        raise Invalid(problems=(FieldProblem(field, problem, "use a shorter one, such as a UUID"),))
    return value

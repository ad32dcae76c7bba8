"""How a command ends: the exit codes, and what explains one: lines on standard error, and with --json a problem on standard output.

0    done
1    anything not listed here; `agents dry-run`: the version would break runs; `audit-log --verify`: a chain is broken
2    bad input: an option, a file, a bundle, a graph, an agent's input
3    not found
4    not allowed: no key, a wrong key, or a key without the right
5    unavailable: no mesh is running, it cannot be reached, it is full, or it took too long
6    the run failed or was cancelled
7    the run waits for people: an approval that nobody was there to give, or to be resumed
130  interrupted with Ctrl-C
"""

from collections.abc import Iterator
from enum import IntEnum

from plimsoll_runtime.errors import ErrorKind, PlimsollError


class Exit(IntEnum):
    """What a program sees."""

    DONE = 0
    OTHER = 1
    BAD_INPUT = 2
    NOT_FOUND = 3
    NOT_ALLOWED = 4
    UNAVAILABLE = 5
    RUN_FAILED = 6
    APPROVAL_NEEDED = 7
    INTERRUPTED = 130


_BY_KIND = {
    ErrorKind.INVALID: Exit.BAD_INPUT,
    ErrorKind.NOT_FOUND: Exit.NOT_FOUND,
    ErrorKind.UNAUTHENTICATED: Exit.NOT_ALLOWED,
    ErrorKind.DENIED: Exit.NOT_ALLOWED,
    ErrorKind.EXHAUSTED: Exit.UNAVAILABLE,
    ErrorKind.UNAVAILABLE: Exit.UNAVAILABLE,
    ErrorKind.TIMEOUT: Exit.UNAVAILABLE,
}


def exit_code(error: PlimsollError) -> Exit:
    """The code for an error."""
    return _BY_KIND.get(error.kind, Exit.OTHER)


def identified(error: PlimsollError) -> str:
    """By what an error is known: its reason, for programs and for the documentation, and its trace, for logs."""
    return f"[{error.reason}]" + (f" trace {error.trace_id}" if error.trace_id else "")


def as_problem(error: PlimsollError) -> dict[str, object]:
    """An error for programs: the fields that the REST API's problem documents have, where they make sense here."""
    problem: dict[str, object] = {
        "type": f"urn:plimsoll:reason:{error.reason}",
        "detail": error.message,
        "reason": error.reason,
        "retryable": error.retryable,
        "exitCode": int(exit_code(error)),
    }
    if error.trace_id:
        problem["traceId"] = error.trace_id
    if error.remedy:
        problem["remedy"] = error.remedy
    if error.problems:
        problem["violations"] = [{"field": one.field, "problem": one.problem, "remedy": one.remedy} for one in error.problems]
    if error.retry_after_s is not None:
        problem["retryAfter"] = error.retry_after_s
    return problem


def explained(error: PlimsollError) -> Iterator[str]:
    """What to print: the problem, each part of it on a line of its own when there are several, and the remedy."""
    problems = error.problems
    if len(problems) > 1:
        joined = "; ".join(map(str, problems))
        yield f"{len(problems)} problems:" if error.message in {"", joined} else f"{error.message}:"
        for problem in problems:
            yield f"  {problem}"
    elif problems and problems[0].field not in error.message:
        yield f"{error.message}: {problems[0]}"
    else:
        yield error.message.removesuffix(f" ({error.remedy})")
    if error.remedy:
        yield error.remedy[0].upper() + error.remedy[1:]
    if error.retry_after_s is not None and error.retryable:
        yield f"Try again in {error.retry_after_s:g} s"

"""Tools and calls as the tests use them."""

from dataclasses import replace
from datetime import UTC, datetime

from plimsoll_runtime.failures import Category, Failure
from plimsoll_runtime.json_types import JsonObject, JsonValue
from plimsoll_runtime.work import WorkContext
from plimsoll_tool_dispatcher.domain.admission import Admitted, admit
from plimsoll_tool_dispatcher.domain.call import Call, Failed, Grant, Outcome, propose, request_digest
from plimsoll_tool_dispatcher.domain.effects import EffectClass
from plimsoll_tool_dispatcher.domain.ledger import Completed, Reservation
from plimsoll_tool_dispatcher.domain.schema import Schema, compile_schema
from plimsoll_tool_dispatcher.domain.tool import PythonSource, Retry, Risk, Tool, identified

ACME, UMBRELLA = "acme", "umbrella"
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
MOST_CHARS = 10_000

ARGUMENTS: JsonObject = {
    "type": "object",
    "additionalProperties": False,
    "required": ["id"],
    "properties": {"id": {"type": "integer", "minimum": 1}, "limit": {"type": "integer", "default": 10}},
}
RESULT: JsonObject = {"type": "object", "required": ["found"], "properties": {"found": {"type": "boolean"}}}


def schema(document: JsonObject) -> Schema:
    compiled, problems = compile_schema(document, "schema")
    assert compiled is not None, problems
    return compiled


def tool(
    effect: EffectClass = EffectClass.READ_ONLY,
    *,
    name: str = "look_up",
    risk: Risk = Risk.LOW,
    timeout_s: float = 5.0,
    concurrency: int = 4,
    attempts: int = 3,
    arguments: JsonObject = ARGUMENTS,
    result: JsonObject = RESULT,
    description: str = "Looks something up",
    path: str = "/tools/shop.py",
) -> Tool:
    return identified(
        Tool(
            name=name,
            version="1",
            category="shop",
            description=description,
            arguments=schema(arguments),
            result=schema(result),
            effect=effect,
            risk=risk,
            timeout_s=timeout_s,
            concurrency=concurrency,
            retry=Retry(attempts=attempts, backoff_s=0.2),
            credentials=(),
            source=PythonSource(path=path),
            digest="",
        )
    )


def call(
    key: str = "key_1",
    *,
    arguments: JsonValue = None,
    name: str = "look_up",
    epoch: int = 1,
    run_id: str = "run_1",
    tenant: str = ACME,
    grants: tuple[Grant, ...] = (),
) -> Call:
    return Call(
        tenant=tenant,
        key=key,
        tool=name,
        arguments={"id": 7} if arguments is None else arguments,
        arguments_chars=20,
        request_digest=request_digest(name, {"id": 7} if arguments is None else arguments),
        work=WorkContext(run_id=run_id, step=3, node="look", agent="support", agent_version="v1", epoch=epoch),
        grants=grants,
    )


def granted(asked: Call, one: Tool, grant_id: str = "apr_1", **changed: JsonValue) -> Call:
    """The call with a grant for exactly it, or for one with changed arguments."""
    assert isinstance(asked.arguments, dict)
    approved = admit(replace(asked, arguments={**asked.arguments, **changed}), replace(one, risk=Risk.LOW), MOST_CHARS)
    assert isinstance(approved, Admitted)
    return replace(asked, grants=(Grant(id=grant_id, call_digest=approved.proposal.call_digest, granted_by="ada"),))


def reservation(
    asked: Call | None = None, one: Tool | None = None, *, grant: Grant | None = None, lease_s: float = 60.0, call_id: str = "call_1"
) -> Reservation:
    asked, one = asked or call(), one or tool()
    assert isinstance(asked.arguments, dict)
    proposal = propose(asked, one.digest, asked.arguments)
    return Reservation(call_id=call_id, call=asked, tool=one, proposal=proposal, grant=grant, lease_s=lease_s)


def grant_for(asked: Reservation, grant_id: str = "apr_1") -> Reservation:
    grant = Grant(id=grant_id, call_digest=asked.proposal.call_digest, granted_by="ada")
    return replace(asked, grant=grant)


def failure(category: Category = Category.UPSTREAM_REJECTED, reason: str = "SOLD_OUT") -> Failure:
    return Failure(category=category, reason=reason, message="no more of these", retryable=True, retry_after_s=2.5, where="look_up")


def completed(outcome: Outcome, event_id: str = "evt_1", asked: Call | None = None) -> Completed:
    asked = asked or call()
    return Completed(
        event_id=event_id,
        tenant=asked.tenant,
        call_id="call_1",
        call_key=asked.key,
        work=asked.work,
        tool=asked.tool,
        tool_digest="d",
        started_at=NOON,
        duration_s=0.5,
        attempts=2,
        failure=outcome.failure if isinstance(outcome, Failed) else None,
        grant_id="",
    )

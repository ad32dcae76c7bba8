"""Tools and calls as the tests use them."""

from dataclasses import replace
from datetime import UTC, datetime

from plimsoll_runtime.failures import Category, Failure
from plimsoll_runtime.json_types import JsonObject, JsonValue
from plimsoll_runtime.work import WorkContext
from plimsoll_tool_dispatcher.domain.admission import Rulebook, admit
from plimsoll_tool_dispatcher.domain.call import ApprovalRequired, Call, Failed, Grant, Outcome, propose, request_digest
from plimsoll_tool_dispatcher.domain.condition import Conditions
from plimsoll_tool_dispatcher.domain.effects import EffectClass
from plimsoll_tool_dispatcher.domain.ledger import Completed, Reservation
from plimsoll_tool_dispatcher.domain.policy import Policy, Rule, Ruling, Terms, Verb, policy_of
from plimsoll_tool_dispatcher.domain.schema import Schema, compile_schema
from plimsoll_tool_dispatcher.domain.tool import Fallback, PythonSource, Rates, Retry, Risk, Tool, identified

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
    fallback: Fallback | None = None,
    reconcile: str = "",
    rates: Rates | None = None,
    credentials: tuple[str, ...] = (),
    labels: tuple[str, ...] = (),
    version: str = "1",
    tenant: str = "",
    origin: str = "file:shop",
) -> Tool:
    return identified(
        Tool(
            name=name,
            version=version,
            category="shop",
            description=description,
            arguments=schema(arguments),
            result=schema(result),
            effect=effect,
            risk=risk,
            timeout_s=timeout_s,
            concurrency=concurrency,
            retry=Retry(attempts=attempts, backoff_s=0.2),
            credentials=credentials,
            source=PythonSource(path=path),
            digest="",
            tenant=tenant,
            origin=origin,
            fallback=fallback,
            reconcile=reconcile,
            rates=rates or Rates(),
            labels=labels,
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


def rule(
    name: str, verb: Verb, when: str = "true", *, tools: tuple[str, ...] = ("*",), terms: Terms | None = None, message: str = ""
) -> Rule:
    return Rule(name=name, verb=verb, when=Conditions().compiled(when), tools=tools, terms=terms or Terms(), message=message)


def policy(*rules: Rule) -> Policy:
    """These rules, or the one that leaves high risk to people."""
    return policy_of(rules or [rule("people", Verb.APPROVE, 'tool.risk == "high"')])


def book(*rules: Rule) -> Rulebook:
    return Rulebook(policy=policy(*rules), most_chars=MOST_CHARS)


def granted(asked: Call, one: Tool, grant_id: str = "apr_1", rulebook: Rulebook | None = None, **changed: JsonValue) -> Call:
    """The call with a grant for exactly it, or for one with changed arguments."""
    assert isinstance(asked.arguments, dict)
    wanted = admit(replace(asked, arguments={**asked.arguments, **changed}, grants=()), one, rulebook or book())
    assert isinstance(wanted, ApprovalRequired)
    return replace(asked, grants=(Grant(id=grant_id, call_digest=wanted.proposal.call_digest, granted_by="ada"),))


def reservation(
    asked: Call | None = None, one: Tool | None = None, *, grant: Grant | None = None, lease_s: float = 60.0, call_id: str = "call_1"
) -> Reservation:
    asked, one = asked or call(), one or tool()
    assert isinstance(asked.arguments, dict)
    proposal = propose(asked, one.digest, asked.arguments, policy=policy().digest)
    verb = Verb.APPROVE if one.risk is Risk.HIGH else Verb.ALLOW
    ruling = Ruling(verb=verb, policy="p", rules=("shop/people",))
    return Reservation(call_id=call_id, call=asked, tool=one, proposal=proposal, grant=grant, lease_s=lease_s, ruling=ruling)


def grant_for(asked: Reservation, grant_id: str = "apr_1", *, expires_at: datetime | None = None) -> Reservation:
    grant = Grant(id=grant_id, call_digest=asked.proposal.call_digest, granted_by="ada", expires_at=expires_at)
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

"""Policy: CEL rules that say of each call whether it is denied, needs people, or is allowed.

Every rule is asked; the strictest answer counts, whatever their order: deny, then approve, then allow. A high-risk call that no rule
speaks for is denied, and a rule that cannot be evaluated denies.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase

from plimsoll_runtime.json_types import JsonObject, digest

from plimsoll_tool_dispatcher.domain.condition import Condition, ConditionFailed, Facts
from plimsoll_tool_dispatcher.domain.tool import Risk, Tool

_MOST_KNOWN = 10_000


class Verb(StrEnum):
    """What a rule says when its condition holds, the strictest first."""

    DENY = "deny"
    APPROVE = "approve"
    ALLOW = "allow"


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What an approval takes: how many people, whether the one who asked may be among them, and how long it holds."""

    quorum: int = 1
    four_eyes: bool = False
    expires_s: float = 24 * 3600.0

    def joined(self, other: "Terms") -> "Terms":
        """The stricter of both in every respect."""
        return Terms(
            quorum=max(self.quorum, other.quorum),
            four_eyes=self.four_eyes or other.four_eyes,
            expires_s=min(self.expires_s, other.expires_s),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """`tools` are names or patterns such as `sql_*`; `message` tells people why."""

    name: str
    verb: Verb
    when: Condition
    tools: tuple[str, ...] = ("*",)
    message: str = ""
    terms: Terms = Terms()

    def concerns(self, tool: Tool) -> bool:
        """By its name, or by that under which its source offers the same operation."""
        names = (tool.name, tool.model) if tool.model else (tool.name,)
        return any(fnmatchcase(name, pattern) for name in names for pattern in self.tools)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """What policy says of one call. `rules` are those that decided; `terms` are there when people have to."""

    verb: Verb
    policy: str
    rules: tuple[str, ...] = ()
    reason: str = ""
    message: str = ""
    terms: Terms | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """One version of all rules, known by its digest."""

    rules: tuple[Rule, ...]
    digest: str
    sees_labels: bool
    _known: dict[tuple[str, str, tuple[str, ...]], "_Known"] = field(default_factory=dict, repr=False, compare=False)

    def concerning(self, tool: Tool) -> "_Known":
        """What can be said of a definition before it is called; kept, because it is asked at every call."""
        key = (tool.digest, tool.model, tool.labels)
        known = self._known.get(key)
        if known is None:
            rules = [rule for rule in self.rules if rule.concerns(tool)]
            facts = facts_of(tool, {}, {}, {})
            constant = [rule for rule in rules if rule.when.of_tool_alone]
            known = _Known(
                always=tuple(rule for rule in constant if _holds(rule, facts)), asked=tuple(rule for rule in rules if rule not in constant)
            )
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[key] = known
        return known


@dataclass(frozen=True, slots=True)
class _Known:
    """Rules that hold for every call of a definition, and those that have to be asked each time."""

    always: tuple[Rule, ...]
    asked: tuple[Rule, ...]


class RuleFailed(Exception):
    """A rule can neither be said to hold nor not to."""

    def __init__(self, rule: Rule, problem: str) -> None:
        super().__init__(rule.name, problem)
        self.rule = rule
        self.problem = problem


def _holds(rule: Rule, facts: Facts) -> bool:
    try:
        return rule.when.holds(facts)
    except ConditionFailed as error:
        raise RuleFailed(rule, str(error)) from error


def policy_of(rules: Sequence[Rule]) -> Policy:
    """The policy of these rules; their order is no part of it."""
    ordered = tuple(sorted(rules, key=lambda rule: rule.name))
    return Policy(
        rules=ordered, digest=digest([_form(rule) for rule in ordered]), sees_labels=any(rule.when.may_see_labels for rule in ordered)
    )


def judge(policy: Policy, tool: Tool, arguments: JsonObject, caller: Mapping[str, str], run: JsonObject) -> Ruling:
    """Ask every rule about a call."""
    try:
        known = policy.concerning(tool)
        facts = facts_of(tool, arguments, caller, run) if known.asked else {}
        matched: dict[Verb, list[Rule]] = {verb: [] for verb in Verb}
        for rule in (*known.always, *(rule for rule in known.asked if _holds(rule, facts))):
            matched[rule.verb].append(rule)
    except RuleFailed as failed:
        name = failed.rule.name
        return Ruling(
            verb=Verb.DENY, policy=policy.digest, rules=(name,), reason="POLICY_ERROR", message=f"rule {name} failed: {failed.problem}"
        )
    if matched[Verb.DENY]:
        return _ruling(policy, Verb.DENY, matched[Verb.DENY], "POLICY_DENIED")
    if not matched[Verb.APPROVE] and not matched[Verb.ALLOW] and tool.risk is Risk.HIGH:
        return Ruling(
            verb=Verb.DENY, policy=policy.digest, reason="NO_RULE_ALLOWS", message="the tool is high risk and no rule allows the call"
        )
    if matched[Verb.APPROVE] or tool.risk is Risk.HIGH:  # to allow a high-risk call is to leave it to one person
        return _ruling(policy, Verb.APPROVE, matched[Verb.APPROVE] or matched[Verb.ALLOW], "APPROVAL_REQUIRED")
    return _ruling(policy, Verb.ALLOW, matched[Verb.ALLOW], "")


def facts_of(tool: Tool, arguments: JsonObject, caller: Mapping[str, str], run: JsonObject) -> Facts:
    """What rules may ask about."""
    return {
        "tool": {
            "name": tool.name,
            "version": tool.version,
            "category": tool.category,
            "upstream": tool.burdens,
            "effect": tool.effect.value,
            "risk": tool.risk.value,
            "labels": list(tool.labels),
            "origin": tool.origin,
            "model": tool.model,
        },
        "arguments": arguments,
        "caller": dict(caller),
        "run": run,
    }


def _ruling(policy: Policy, verb: Verb, rules: Sequence[Rule], reason: str) -> Ruling:
    terms = None
    if verb is Verb.APPROVE:
        terms = rules[0].terms
        for rule in rules[1:]:
            terms = terms.joined(rule.terms)
    message = "; ".join(rule.message or f"rule {rule.name}" for rule in rules)
    return Ruling(verb=verb, policy=policy.digest, rules=tuple(rule.name for rule in rules), reason=reason, message=message, terms=terms)


def _form(rule: Rule) -> JsonObject:
    return {
        "name": rule.name,
        "verb": rule.verb.value,
        "when": rule.when.text,
        "tools": list(rule.tools),
        "message": rule.message,
        "quorum": rule.terms.quorum,
        "four_eyes": rule.terms.four_eyes,
        "expires_ms": round(rule.terms.expires_s * 1000),
    }

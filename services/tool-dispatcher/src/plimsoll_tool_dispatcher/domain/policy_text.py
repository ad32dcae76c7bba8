"""Policy files: YAML that becomes rules, and every mistake in it is told at once."""

from plimsoll_runtime.errors import FieldProblem
from plimsoll_runtime.json_types import JsonValue

from plimsoll_tool_dispatcher.domain.condition import Condition, ConditionBroken, Conditions
from plimsoll_tool_dispatcher.domain.fields import Fields
from plimsoll_tool_dispatcher.domain.policy import Rule, Terms, Verb
from plimsoll_tool_dispatcher.domain.yaml_text import UnreadableYaml, read_yaml

_MAX_RULES = 500
_MAX_EXPIRES_S = 30 * 24 * 3600.0
_NAME = r"[a-z][a-z0-9-]{0,62}"


def parse_policy(text: str, conditions: Conditions) -> tuple[tuple[Rule, ...], tuple[FieldProblem, ...]]:
    """The rules of a file, or what is wrong with it. Rules are named after their file: `refunds/within-limits`."""
    problems: list[FieldProblem] = []
    try:
        document = read_yaml(text)
    except UnreadableYaml as error:
        return (), (error.problem,)
    if not isinstance(document, dict):
        return (), (FieldProblem("file", "is not a map", "write policy: and rules: at the top level"),)
    fields = Fields("", document, problems, ("policy", "rules"))
    name = fields.text("policy", _NAME, "write a name such as refunds: small letters, digits, -")
    entries = fields.value("rules")
    if not isinstance(entries, list) or not entries or len(entries) > _MAX_RULES:
        fields.refuse("rules", f"is not a list of 1 to {_MAX_RULES} rules", "write at least one rule: {name:, when:, then:}")
        return (), tuple(problems)
    rules = [_rule(f"rules[{index}]", entry, name, conditions, problems) for index, entry in enumerate(entries)]
    names = [rule.name for rule in rules if rule is not None]
    problems += [
        FieldProblem("rules", f"has two rules named {twice!r}", "rename one of them")
        for twice in sorted({n for n in names if names.count(n) > 1})
    ]
    return (() if problems else tuple(rule for rule in rules if rule is not None)), tuple(problems)


def _rule(where: str, entry: JsonValue, policy: str, conditions: Conditions, problems: list[FieldProblem]) -> Rule | None:
    if not isinstance(entry, dict):
        problems.append(FieldProblem(where, "is not a map", "write name:, when: and then:"))
        return None
    fields = Fields(where, entry, problems, ("name", "tools", "when", "then", "message", "approval"))
    name = fields.text("name", _NAME, "write a name such as within-limits: small letters, digits, -")
    verb = fields.choice("then", Verb)
    when = _condition(fields, conditions)
    tools = fields.names("tools", r"[a-z0-9_.*?-]{1,64}", "list names or patterns of tools such as sql_*") or ("*",)
    message = fields.value("message")
    if message is not None and (not isinstance(message, str) or len(message) > 300):
        fields.refuse("message", "is not a text of at most 300 characters", "say in a sentence why")
        message = None
    approval = entry.get("approval")
    terms = _terms(fields.inner("approval", ("quorum", "four_eyes", "expires")))
    if approval is not None and verb is not Verb.APPROVE:
        fields.refuse("approval", "stands beside a rule that asks nobody", "write then: approve, or leave it out")
    if problems or when is None:
        return None
    return Rule(
        name=f"{policy}/{name}", verb=verb, when=when, tools=tools, message=message if isinstance(message, str) else "", terms=terms
    )


def _condition(fields: Fields, conditions: Conditions) -> Condition | None:
    text = fields.value("when")
    if not isinstance(text, str) or not text.strip():
        fields.refuse("when", "is not a condition", 'write CEL over tool, arguments, caller and run, such as tool.risk == "high"')
        return None
    try:
        return conditions.compiled(text)
    except ConditionBroken as error:
        fields.refuse("when", f"is not CEL: {error}", "mend the condition there")
        return None


def _terms(fields: Fields) -> Terms:
    four_eyes = fields.value("four_eyes")
    if four_eyes is not None and not isinstance(four_eyes, bool):
        fields.refuse("four_eyes", "is neither true nor false", "write true when who asked may not approve")
    return Terms(
        quorum=fields.count("quorum", 1, least=1, most=20),
        four_eyes=four_eyes is True,
        expires_s=fields.seconds("expires", 24 * 3600.0, least=1.0, most=_MAX_EXPIRES_S),
    )

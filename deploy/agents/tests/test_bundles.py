"""Each bundle is whole: what it refers to exists, what it declares is valid, and the services accept it."""

import re
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import jsonschema_rs
import yaml
from cel_expr_python import cel
from cel_expr_python.ext import ext_strings
from plimsoll_graph.parse import parse_graph
from plimsoll_model_router.domain.prompts import Example, Template, checked
from plimsoll_tool_dispatcher.domain.declaration import parse_declaration

NAMES = ("state", "input", "run", "result", "item", "index", "failure", "attempts")
CATEGORIES = frozenset(
    [
        *("tool_error", "invalid_arguments", "unknown_tool", "wrong_tool", "malformed_result", "context_truncated", "context_invalid"),
        *("upstream_rejected", "upstream_unavailable", "rate_limited", "timeout", "policy_denied", "approval_rejected", "budget_exceeded"),
        *("model_refused", "model_malformed", "retrieval_empty", "outcome_unknown", "internal"),
    ]
)


def targets(bundle: Any) -> Iterator[tuple[str, str]]:
    """(node, where it may lead)."""
    for name, kind, body in bundle.steps():
        node = bundle.nodes[name]
        yield from ((name, target) for target in node.get("on_failure", {}).values())
        match kind:
            case "decide":
                yield from ((name, branch["next"]) for branch in [*body["branches"], {"next": body["default"]}])
            case "handle":
                yield from ((name, case["next"]) for case in body if "next" in case)
            case "approve":
                yield from ((name, body[key]) for key in ("on_rejected", "on_expired"))
        if "next" in node:
            yield name, node["next"]


def expressions(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            for inner in value.values():
                yield from expressions(inner)
        case list():
            for inner in value:
                yield from expressions(inner)


def all_expressions(bundle: Any) -> Iterator[str]:
    yield from expressions(bundle.graph["output"])
    for name, kind, body in bundle.steps():
        yield from expressions([bundle.nodes[name].get(key, []) for key in ("require", "ensure", "save")])
        match kind:
            case "model" | "agent":
                yield from expressions(body["variables"])
            case "tool":
                yield from expressions(body["arguments"])
            case "retrieve":
                yield from expressions([body["query"], body.get("filter", {})])
            case "decide":
                yield from (branch["when"] for branch in body["branches"])
            case "set":
                yield from expressions(body)
            case "map":
                yield body["over"]
            case "approve":
                yield from expressions([body["summary"], body["details"]])
            case "handle":
                yield from (case[key] for case in body for key in ("when", "escalate") if key in case)


def test_every_yaml_file_says_something(bundle: Any):
    for path in bundle.folder.rglob("*.yaml"):
        assert isinstance(yaml.safe_load(path.read_text()), dict), path


def test_every_edge_leads_to_a_node_or_the_end(bundle: Any):
    unknown = {(name, target) for name, target in targets(bundle) if target != "end" and target not in bundle.nodes}
    assert not unknown
    assert bundle.graph["start"] in bundle.nodes


def test_every_node_can_be_reached(bundle: Any):
    edges = list(targets(bundle))
    reached, waiting = set(), {bundle.graph["start"]}
    while waiting:
        name = waiting.pop()
        reached.add(name)
        waiting |= {target for source, target in edges if source == name and target != "end"} - reached
    assert reached == set(bundle.nodes)


def test_every_step_that_can_fail_has_a_route_for_any_failure(bundle: Any):
    for name, kind, _ in bundle.steps():
        if kind in {"model", "agent", "tool", "retrieve", "map"}:
            assert "any" in bundle.nodes[name].get("on_failure", {}), name


def test_routes_name_categories_of_the_taxonomy(bundle: Any):
    for name, node in bundle.nodes.items():
        assert set(node.get("on_failure", {})) <= CATEGORIES | {"any"}, name


def test_every_prompt_that_is_used_exists_and_gets_exactly_its_variables(bundle: Any):
    used = set()
    for name, kind, body in bundle.steps():
        if kind in {"model", "agent"}:
            prompt, _, label = body["prompt"].partition("@")
            used.add(prompt)
            assert label in bundle.prompts[prompt]["labels"], name
            assert set(body["variables"]) == set(bundle.prompts[prompt]["variables"]), name
    assert used == set(bundle.prompts)


def test_every_tool_that_is_used_exists_and_gets_exactly_its_arguments(bundle: Any):
    used = set()
    for name, kind, body in bundle.steps():
        if kind == "agent":
            used |= set(body["tools"])
        if kind == "tool":
            used.add(body["name"])
            schema = bundle.tools[body["name"]]["arguments"]
            assert set(schema["required"]) <= set(body["arguments"]) <= set(schema["properties"]), name
    assert used == set(bundle.tools)


def test_every_collection_that_is_searched_has_documents(bundle: Any):
    searched = {body["collection"] for _, kind, body in bundle.steps() if kind == "retrieve"}
    assert searched == bundle.collections


def test_every_expression_compiles(bundle: Any):
    env = cel.NewEnv(variables=dict.fromkeys(NAMES, cel.Type.DYN), extensions=[ext_strings.ExtStrings()])
    for text in all_expressions(bundle):
        env.compile(text)


def test_every_field_that_is_saved_belongs_to_the_state(bundle: Any):
    known = bundle.graph["state"]["properties"]
    for name, kind, body in bundle.steps():
        in_map = "map" in bundle.nodes[name]
        saved = set(bundle.nodes[name].get("save", {})) | (set(body) if kind == "set" and not in_map else set())
        assert saved <= set(known), name
    assert set(bundle.graph["input"]["properties"]) <= set(known)
    assert set(bundle.graph["accepts"].values()) <= set(bundle.graph["input"]["properties"])


def test_every_schema_is_valid(bundle: Any):
    schemas = [bundle.graph["input"], bundle.graph["state"]]
    schemas += [body["output"] for _, kind, body in bundle.steps() if kind in {"model", "agent"} and "output" in body]
    schemas += [tool[key] for tool in bundle.tools.values() for key in ("arguments", "result")]
    for schema in schemas:
        jsonschema_rs.meta.validate({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema})


def test_labels_to_choose_from_say_what_they_mean(bundle: Any):
    for _, kind, body in bundle.steps():
        if kind == "model":
            for field in body.get("output", {}).get("properties", {}).values():
                assert all(option["description"].strip() for option in field.get("oneOf", []))


def test_examples_answer_as_the_output_schema_demands(bundle: Any):
    for name, kind, body in bundle.steps():
        if kind == "model":
            prompt = bundle.prompts[body["prompt"].partition("@")[0]]
            assert len(prompt["examples"]) >= 4, name
            validator = jsonschema_rs.validator_for(body.get("output", {"type": "string"}), validate_formats=True)
            assert all(validator.is_valid(example["assistant"]) for example in prompt["examples"]), name


def test_examples_show_every_label(bundle: Any):
    for name, kind, body in bundle.steps():
        if kind == "model" and "map" not in bundle.nodes[name]:
            examples = bundle.prompts[body["prompt"].partition("@")[0]]["examples"]
            for field, schema in body.get("output", {}).get("properties", {}).items():
                labels = {option["const"] for option in schema.get("oneOf", [])}
                assert labels <= {example["assistant"].get(field) for example in examples}, (name, field)


def test_passages_in_examples_are_written_as_in_the_prompt(bundle: Any):
    for prompt in bundle.prompts.values():
        if "{{evidence}}" in prompt["user"] or "{{facts}}" in prompt["user"]:
            assert all(re.search(r"^\[[^\]]+\] \S", example["user"], re.MULTILINE) for example in prompt["examples"]), prompt["prompt"]


def test_every_tool_has_its_handler(bundle: Any, handlers: Callable[[str, str], ModuleType], is_handler: Callable[[object], bool]):
    for category, declared in bundle.categories.items():
        assert declared["category"] == category
        module = handlers(bundle.name, category)
        assert all(is_handler(getattr(module, tool["name"], None)) for tool in declared["tools"])


def test_sql_names_a_tenant_in_every_statement(bundle: Any):
    for path in bundle.folder.glob("tools/*.py"):
        for statement in re.findall(r"\"(?:\"\")?\s*(?:select|insert|update|delete)\b[^\"]*", path.read_text()):
            if re.search(r"\b(?:tarnbrook|tarnbrook_desk|plimsoll_tables)\.", statement):
                assert "tenant" in statement, statement
    for path in bundle.folder.glob("tools/*.sql"):
        for table in re.findall(r"create table if not exists [\w.]+ \((.*?)\n\);", path.read_text(), re.DOTALL):
            assert re.search(r"^  tenant text", table, re.MULTILINE), path


def test_effects_and_risks_fit_together(bundle: Any):
    risky = {name for name, tool in bundle.tools.items() if tool["risk"] == "high"}
    assert risky == {"support": {"issue_large_refund"}, "pipeline": {"apply_fixes"}}.get(bundle.name, set())
    assert all(bundle.tools[name]["effect"] == "keyed" for name in risky)


def test_the_orchestrator_accepts_the_graph(bundle: Any):
    graph = parse_graph((bundle.folder / "agent.yaml").read_text(), "agent.yaml")
    assert graph.agent == bundle.name


def test_the_tool_dispatcher_accepts_the_declarations(bundle: Any):
    for category in bundle.categories:
        path = bundle.folder / "tools" / f"{category}.yaml"
        code = path.with_suffix(".py").read_text()
        declared = parse_declaration(path.read_text(), stem=category, code=code, code_path=f"{category}.py")
        assert not declared.problems


def test_the_model_router_accepts_the_prompts(bundle: Any):
    for prompt in bundle.prompts.values():
        examples = tuple(Example(user=example["user"], assistant=example["assistant"]) for example in prompt.get("examples", ()))
        template = Template(
            name=prompt["prompt"], variables=tuple(prompt["variables"]), system=prompt["system"], examples=examples, user=prompt["user"]
        )
        assert checked(template, tuple(prompt["labels"])) is template


def test_prompts_tell_that_what_comes_from_outside_is_no_instruction(bundle: Any):
    for prompt in bundle.prompts.values():
        assert re.search(r"never (an instruction|instructions) to you", prompt["system"]), prompt["prompt"]

"""Output schemas: compiled once, offline, and what is wrong with a value under one."""

from dataclasses import dataclass

import jsonschema_rs
from plimsoll_runtime.errors import FieldProblem
from plimsoll_runtime.json_types import JsonObject, JsonValue

from plimsoll_model_router.errors import InvalidGeneration

_PROBLEMS_CAP = 10


@dataclass(frozen=True, slots=True)
class CompiledSchema:
    """A schema ready to judge."""

    validator: jsonschema_rs.Validator

    def problems(self, value: JsonValue) -> tuple[FieldProblem, ...]:
        """What is wrong and where; empty when the value satisfies the schema."""
        found = []
        for error in self.validator.iter_errors(value):
            where = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in error.instance_path)
            keyword = error.schema_path[-1] if error.schema_path else "the schema"
            told = error.message if keyword == "required" else f"breaks `{keyword}`"  # never the value: it is part of an answer
            found.append(FieldProblem(where.lstrip(".") or "answer", told))
            if len(found) == _PROBLEMS_CAP:
                break
        return tuple(found)


def compiled(schema: JsonObject, *, field: str = "output_schema") -> CompiledSchema:
    """Compile a schema; nothing is ever fetched. Raises InvalidGeneration, naming `field`, when it is not a JSON Schema."""
    try:
        return CompiledSchema(jsonschema_rs.validator_for(schema, retriever=_refuse))
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
        problem = FieldProblem(
            field, f"is not a JSON Schema that can be used: {error}"[:400], "references must point into the schema itself"
        )
        raise InvalidGeneration(problems=(problem,)) from error


def _refuse(uri: str) -> JsonObject:
    raise ValueError(f"{uri} is outside of the schema")

"""Requests made from the OpenAPI document, good and bad: no 500, and no answer that the document does not tell of."""

import asyncio
from itertools import product

import schemathesis
from gateway_door import Door, open_door
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance, status_code_conformance

EXAMPLES = 4
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
QUIET = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def ask_everything(door: Door) -> int:
    """Every operation with made requests; how many were sent."""
    schema = schemathesis.openapi.from_url(f"{door.url}/openapi.json")
    sent = 0
    operations = [result.ok() for result in schema.get_all_operations()]
    for operation, mode in product(operations, (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)):
        if operation.path.endswith(("/events", "/events:poll")):  # held open: see test_streams and test_cuts
            continue

        @QUIET
        @given(case=operation.as_strategy(generation_mode=mode))
        def one(case: schemathesis.Case) -> None:
            nonlocal sent
            sent += 1
            case.call_and_validate(headers={"Authorization": f"Bearer {door.key}"}, checks=CHECKS)

        one()
    return sent


async def test_no_request_of_the_document_gets_an_answer_outside_of_it(postgres_dsn: str):
    async with open_door(postgres_dsn) as door:
        assert await asyncio.to_thread(ask_everything, door) > 200

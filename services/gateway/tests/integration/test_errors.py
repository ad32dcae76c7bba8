"""One vocabulary of errors over both protocols, and the truth about what is down."""

import asyncio

import grpc
import orjson
import pytest
from gateway_door import Door, Wish, open_door
from gateway_peers import SERVICES, Peer
from plimsoll.gateway.v1 import gateway_service_pb2, gateway_service_pb2_grpc, memory_pb2, runs_pb2
from plimsoll.memory.v1 import memory_service_pb2 as memory_pb
from plimsoll_gateway.transport.transcoder import Received, Transcoder
from plimsoll_runtime.errors import (
    Cancelled,
    Conflict,
    DeadlineExpired,
    Denied,
    Exhausted,
    FieldProblem,
    Internal,
    Invalid,
    NotFound,
    PlimsollError,
    Unauthenticated,
    Unavailable,
)
from plimsoll_runtime.status import error_from_rpc
from plimsoll_testkit.ports import free_port
from plimsoll_testkit.waiting import eventually


@pytest.fixture
async def door(postgres_dsn: str):
    async with open_door(postgres_dsn) as opened:
        yield opened


async def over_rest(door: Door, path: str = "/v1/runs/run_1") -> tuple[int, dict[str, object], dict[str, str]]:
    async with door.rest.get(path) as response:
        assert response.content_type == "application/problem+json"
        return response.status, await response.json(content_type=None), dict(response.headers)


async def over_grpc(door: Door) -> PlimsollError:
    stub = gateway_service_pb2_grpc.GatewayServiceStub(door.channel)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.GetRun(runs_pb2.GetRunRequest(run_id="run_1"), timeout=60, metadata=(("authorization", f"Bearer {door.key}"),))
    return error_from_rpc(caught.value, "gateway")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Invalid(problems=[FieldProblem("input.message", "is missing", "give it")], reason="INPUT_INVALID"), 400),
        (Denied("not this label", reason="LABEL_PROTECTED"), 403),
        (NotFound("run run_1 does not exist", reason="RUN_NOT_FOUND"), 404),
        (Conflict("decided already", reason="APPROVAL_DECIDED"), 409),
        (Exhausted("the queue is full", reason="QUEUE_FULL", retry_after_s=2.4), 429),
        (Unavailable("the database cannot be reached", reason="DATABASE_UNAVAILABLE", retry_after_s=1.0), 503),
        (DeadlineExpired("too slow", reason="SOMETHING_SLOW"), 504),
        (Cancelled("gone", reason="GONE"), 499),
    ],
    ids=lambda value: value.reason if isinstance(value, PlimsollError) else str(value),
)
async def test_an_error_behind_is_the_same_error_over_both_protocols(door: Door, error: PlimsollError, status: int):
    door.peers["orchestrator"].answers["GetRun"] = error
    answered, problem, headers = await over_rest(door)
    assert (answered, problem["status"], problem["reason"], problem["detail"]) == (status, status, error.reason, error.message)
    assert problem["retryable"] is error.retryable
    assert problem["type"] == f"urn:plimsoll:reason:{error.reason}"
    assert headers.get("Retry-After") == {2.4: "3", 1.0: "1", None: None}[error.retry_after_s]
    assert problem.get("violations", []) == [{"field": p.field, "problem": p.problem, "remedy": p.remedy} for p in error.problems]
    same = await over_grpc(door)
    assert (type(same), same.reason, same.message, same.problems) == (type(error), error.reason, error.message, error.problems)
    assert same.retry_after_s == error.retry_after_s


async def test_a_fault_of_ours_shows_its_reason_and_no_words(door: Door):
    door.peers["orchestrator"].answers["GetRun"] = Internal("select * from secrets", reason="DATABASE_ERROR")
    status, problem, _ = await over_rest(door)
    assert (status, problem["reason"]) == (500, "DATABASE_ERROR")
    assert "secrets" not in str(problem)


@pytest.mark.parametrize("error", [Denied(reason="CALLER_NOT_ALLOWED"), Unauthenticated(reason="NO_CERTIFICATE")], ids=lambda e: e.reason)
async def test_a_service_that_does_not_let_the_gateway_in_is_our_fault_and_not_the_clients(door: Door, error: PlimsollError):
    door.peers["orchestrator"].answers["GetRun"] = error
    status, problem, _ = await over_rest(door)
    assert (status, problem["reason"]) == (500, "DEPENDENCY_REFUSED")


async def test_every_answer_carries_the_trace_of_its_request(door: Door):
    trace = "0af7651916cd43dd8448eb211c80319c"
    door.peers["orchestrator"].answers["GetRun"] = NotFound(reason="RUN_NOT_FOUND")
    async with door.rest.get("/v1/runs/run_1", headers={"traceparent": f"00-{trace}-b7ad6b7169203331-01"}) as response:
        assert (await response.json(content_type=None))["traceId"] == trace
    _, problem, _ = await over_rest(door)
    assert problem["traceId"] not in {"", trace, "0" * 32}


async def test_an_unknown_path_and_a_wrong_method_answer_in_the_same_form(door: Door):
    status, problem, _ = await over_rest(door, "/v1/nothing")
    assert (status, problem["reason"]) == (404, "NO_SUCH_PATH")
    async with door.rest.put("/v1/agents") as response:
        problem = await response.json(content_type="application/problem+json")
    assert (response.status, problem["reason"], response.headers["Allow"]) == (405, "METHOD_NOT_ALLOWED", "GET, POST")


async def test_a_search_that_could_not_be_done_is_an_error_and_no_empty_answer(door: Door):
    failure = {"category": "FAILURE_CATEGORY_UPSTREAM_UNAVAILABLE", "reason": "EMBEDDER_AWAY", "message": "the embedder is away"}
    door.peers["memory"].answers["Search"] = memory_pb.SearchResponse(failure=failure)
    async with door.rest.post("/v1/collections/faq:search", json={"query": "x"}) as response:
        problem = await response.json(content_type=None)
    assert (response.status, problem["reason"], response.headers["Retry-After"]) == (503, "EMBEDDER_AWAY", "1")


async def test_a_service_that_is_down_is_named_while_the_others_serve_and_found_again_when_it_is_back(postgres_dsn: str):
    address = f"127.0.0.1:{free_port()}"
    async with open_door(postgres_dsn, Wish(absent={"memory": address})) as door:
        status, problem, headers = await over_rest(door, "/v1/collections")
        assert (status, problem["reason"], headers["Retry-After"]) == (503, "DEPENDENCY_UNAVAILABLE", "1")
        assert problem["detail"] == "the memory cannot be reached"
        stub = gateway_service_pb2_grpc.GatewayServiceStub(door.channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.ListCollections(memory_pb2.ListCollectionsRequest(), metadata=(("authorization", f"Bearer {door.key}"),))
        assert error_from_rpc(caught.value, "gateway").reason == "DEPENDENCY_UNAVAILABLE"
        async with door.rest.get("/v1/runs") as response:
            assert response.status == 200

        async with Peer(SERVICES["memory"]).served(address):

            async def serves() -> bool:
                async with door.rest.get("/v1/collections") as response:
                    return response.status == 200

            await eventually(serves)


async def test_a_service_that_does_not_answer_is_named_when_the_time_is_up(postgres_dsn: str):
    async with open_door(postgres_dsn, Wish(request_cap_s=0.3)) as door:
        door.peers["orchestrator"].answers["GetRun"] = asyncio.Event()
        status, problem, _ = await over_rest(door)
        assert (status, problem["retryable"]) == (504, True)
        assert problem["reason"] in {"DEPENDENCY_TIMEOUT", "DEADLINE_EXPIRED"}  # its timer and ours end together
        assert isinstance(await over_grpc(door), DeadlineExpired)


async def test_a_client_that_leaves_takes_its_request_with_it(door: Door):
    started, left = asyncio.Event(), asyncio.Event()

    class Waits(asyncio.Event):
        async def wait(self) -> bool:  # type: ignore[override]
            started.set()
            try:
                return bool(await asyncio.Event().wait())
            finally:
                left.set()

    door.peers["orchestrator"].answers["GetRun"] = Waits()
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        asking = group.create_task(door.rest.get("/v1/runs/run_1"))
        await started.wait()
        asking.cancel()
        await left.wait()


@pytest.mark.parametrize(
    ("options", "fields"),
    [
        ({"priority": 10}, ["options.priority"]),
        ({"startTime": "2020-01-01T00:00:00Z", "deadline": "2020-01-01T00:00:00Z"}, ["options.deadline", "options.startTime"]),
        ({"startTime": "2999-01-01T00:00:00Z"}, ["options.startTime"]),
        ({"threadPolicy": "THREAD_POLICY_STEER"}, ["options.threadPolicy"]),
        ({"concurrencyLimit": 2}, ["options.concurrencyLimit"]),
        ({"budget": {"steps": "-1", "time": "-1s"}}, ["options.budget.steps", "options.budget.time"]),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
async def test_options_that_cannot_be_meant_are_refused_with_the_same_words_over_both_protocols(
    door: Door, options: dict[str, object], fields: list[str]
):
    transcoder = Transcoder(gateway_service_pb2.DESCRIPTOR.services_by_name["GatewayService"])
    for path, method in (("/v1/agents/a/runs", "SubmitRun"), ("/v1/runs/run_1:fork", "ForkRun")):
        async with door.rest.post(path, json={"options": options}) as response:
            problem = await response.json(content_type=None)
        assert (response.status, problem["reason"]) == (400, "INVALID_OPTIONS")
        assert sorted({one["field"] for one in problem["violations"]}) == fields
        assert all(one["problem"] and one["remedy"] for one in problem["violations"])
        request = transcoder.request(transcoder.table.match("POST", path), Received(body=orjson.dumps({"options": options})))
        stub = gateway_service_pb2_grpc.GatewayServiceStub(door.channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await getattr(stub, method)(request, timeout=60, metadata=(("authorization", f"Bearer {door.key}"),))
        same = error_from_rpc(caught.value, "gateway")
        assert (same.reason, [(p.field, p.problem, p.remedy) for p in same.problems]) == (
            "INVALID_OPTIONS",
            [(one["field"], one["problem"], one["remedy"]) for one in problem["violations"]],
        )
    assert door.peers["orchestrator"].heard == []


async def test_a_policy_that_does_not_exist_is_refused_by_name_over_rest_and_by_number_over_grpc(door: Door):
    async with door.rest.post("/v1/agents/a/runs", json={"options": {"threadId": "t", "threadPolicy": "STEER"}}) as response:
        problem = await response.json(content_type=None)
    assert (response.status, problem["violations"][0]["remedy"]) == (400, "did you mean THREAD_POLICY_STEER?")
    stub = gateway_service_pb2_grpc.GatewayServiceStub(door.channel)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.SubmitRun(
            runs_pb2.SubmitRunRequest(agent="a", options={"thread_id": "t", "thread_policy": 99}),
            timeout=60,
            metadata=(("authorization", f"Bearer {door.key}"),),
        )
    assert [one.field for one in error_from_rpc(caught.value, "gateway").problems] == ["options.threadPolicy"]
    assert door.peers["orchestrator"].heard == []


async def test_the_repeat_of_a_request_with_a_key_reaches_the_orchestrator_also_when_its_start_has_passed(door: Door):
    body = {"options": {"startTime": "2020-01-01T00:00:00Z"}}
    async with door.rest.post("/v1/agents/a/runs", json=body, headers={"Idempotency-Key": "k"}) as response:
        assert response.status == 200
    assert [heard.method for heard in door.peers["orchestrator"].heard] == ["StartRun"]

"""What goes wrong in a handler reaches the client as what it is, and never more than that."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing

import grpc
import pytest
from plimsoll_runtime.context import acting_for
from plimsoll_runtime.errors import (
    BY_KIND,
    Conflict,
    DeadlineExpired,
    ErrorKind,
    Exhausted,
    FieldProblem,
    Internal,
    Invalid,
    NotFound,
    PlimsollError,
    Unavailable,
)
from plimsoll_runtime.rpc_client import call, stream
from plimsoll_runtime.rpc_server import Identity
from runtime_probe import SERVICE, Ask, asking, serving

SECRET = "hunter2 is the password"


class WidgetNotFound(NotFound):
    """No widget has this id."""

    reason = "WIDGET_NOT_FOUND"


def raising(error: Exception) -> Ask:
    async def ask(_: bytes, __: object) -> bytes:
        raise error

    return ask


async def refusal(ask: Ask) -> PlimsollError:
    """The error that a call of the probe ends with."""
    async with serving(ask=ask) as served, asking(served.address) as asker:
        with acting_for("acme"), pytest.raises(PlimsollError) as caught:
            await call(asker.ask, b"", cap_s=60)
    return caught.value


async def failing_together(*errors: Exception) -> None:
    """Raise all of them from one TaskGroup."""
    barrier = asyncio.Barrier(len(errors))

    async def fail(error: Exception) -> None:
        await barrier.wait()
        raise error

    async with asyncio.TaskGroup() as group:
        for error in errors:
            group.create_task(fail(error))


async def test_an_error_raised_in_a_task_group_keeps_its_kind_and_reason():
    async def ask(_: bytes, __: object) -> bytes:
        async with asyncio.TaskGroup() as outer:
            outer.create_task(failing_together(WidgetNotFound()))
        return b""

    error = await refusal(ask)
    assert isinstance(error, NotFound)
    assert (error.reason, error.message) == ("WIDGET_NOT_FOUND", "No widget has this id.")


@pytest.mark.parametrize("fault", [ValueError(SECRET), Internal("the ledger does not add up", reason="LEDGER_BROKEN")])
async def test_a_fault_of_ours_is_not_hidden_by_a_refusal_raised_beside_it(fault: Exception):
    async def ask(_: bytes, __: object) -> bytes:
        await failing_together(WidgetNotFound(), TimeoutError(), fault)
        return b""

    assert (await refusal(ask)).kind is ErrorKind.INTERNAL


@pytest.mark.parametrize("kind", ErrorKind)
async def test_every_kind_of_error_arrives_with_all_that_it_says(kind: ErrorKind):
    sent = BY_KIND[kind](
        "grün und größer",
        reason="SOME_REASON",
        problems=[FieldProblem("graph.nodes[2].next", "names no node", "add it"), FieldProblem("name", "is empty")],
        remedy="try less",
        retry_after_s=1.25,
    )
    got = await refusal(raising(sent))
    assert type(got) is BY_KIND[kind]
    assert (got.message, got.reason, got.problems, got.remedy, got.retry_after_s) == (
        sent.message,
        sent.reason,
        sent.problems,
        sent.remedy,
        sent.retry_after_s,
    )


async def test_an_unknown_exception_becomes_internal_without_its_text(caplog: pytest.LogCaptureFixture):
    error = await refusal(raising(RuntimeError(SECRET)))
    assert type(error) is Internal
    assert (error.message, error.reason) == ("A fault on our side.", "INTERNAL")
    [fault] = [record for record in caplog.records if record.message == "rpc.failed"]
    assert fault.exc_info is not None  # whoever runs the service learns what it was, once
    assert isinstance(fault.exc_info[1], RuntimeError)


async def test_a_refusal_is_no_fault_in_the_log(caplog: pytest.LogCaptureFixture):
    caplog.set_level("INFO", "plimsoll")
    await refusal(raising(WidgetNotFound()))
    [line] = [record for record in caplog.records if record.name == "plimsoll.probe"]
    assert line.message == "rpc.answered"
    fields = line.__dict__["fields"]
    assert {name: fields[name] for name in ("method", "code", "reason", "tenant")} == {
        "method": f"/{SERVICE}/Ask",
        "code": "NOT_FOUND",
        "reason": "WIDGET_NOT_FOUND",
        "tenant": "acme",
    }


async def test_a_timeout_inside_the_handler_is_an_expired_deadline():
    assert isinstance(await refusal(raising(TimeoutError(SECRET))), DeadlineExpired)


@pytest.mark.parametrize(
    ("raised", "arrives"), [(RuntimeError(SECRET), Internal), (Unavailable("keys are away", reason="KEYS_AWAY"), Unavailable)]
)
async def test_an_error_of_the_authentication_is_translated_too(raised: Exception, arrives: type[PlimsollError]):
    async def authenticate(_: str, __: object) -> Identity:
        raise raised

    async with serving(authenticate=authenticate) as served, asking(served.address) as asker:
        with acting_for("acme"), pytest.raises(arrives) as caught:
            await call(asker.ask, b"", cap_s=60)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("text", ["x" * 5000, "ж" * 5000, "語" * 5000])
async def test_an_error_too_long_for_the_trailers_arrives_shortened_with_its_reason(text: str):
    problems = [FieldProblem(f"nodes[{number}].{text}", text, text) for number in range(200)]
    error = await refusal(raising(Invalid(text, reason="GRAPH_INVALID", problems=problems, remedy=text, retry_after_s=3)))
    assert isinstance(error, Invalid)
    assert (error.reason, error.retry_after_s) == ("GRAPH_INVALID", 3)
    assert error.message.startswith(text[:100])
    assert error.problems[0].field.startswith("nodes[0].")
    assert (error.problems[-1].field, error.problems[-1].problem) == ("…", f"and {200 - len(error.problems) + 1} more")


async def test_an_error_in_the_middle_of_a_stream_comes_after_what_was_sent_before():
    async def watch(_: bytes, __: object) -> AsyncIterator[bytes]:
        yield b"first"
        yield b"second"
        raise WidgetNotFound

    async with serving(watch=watch) as served, asking(served.address) as asker:
        with acting_for("acme"):
            async with aclosing(stream(asker.watch, b"", cap_s=60)) as answers:
                assert [await anext(answers), await anext(answers)] == [b"first", b"second"]
                with pytest.raises(NotFound) as caught:
                    await anext(answers)
    assert caught.value.reason == "WIDGET_NOT_FOUND"


async def test_the_end_of_every_call_is_counted_by_its_code():
    async with serving(ask=raising(WidgetNotFound())) as served, asking(served.address) as asker:
        with acting_for("acme"):
            for _ in range(3):
                with pytest.raises(NotFound):
                    await call(asker.ask, b"", cap_s=60)
        counted = f'plimsoll_rpc_seconds_count{{code="NOT_FOUND",method="/{SERVICE}/Ask"}} 3.0'
        assert counted in served.metrics.render().decode()


async def test_a_peer_that_is_not_there_is_unavailable():
    async with asking("localhost:1") as asker:
        with acting_for("acme"), pytest.raises(Unavailable) as caught:
            await call(asker.ask, b"", cap_s=60, target="the memory")
    assert (caught.value.reason, caught.value.message, caught.value.retryable) == ("UNREACHABLE", "the memory cannot be reached", True)


async def test_a_method_that_does_not_exist_names_itself():
    async with serving() as served, asking(served.address) as asker:
        with acting_for("acme"), pytest.raises(Internal) as caught:
            await call(asker.channel.unary_unary(f"/{SERVICE}/Ignore"), b"", cap_s=60)
    assert caught.value.message == f"{SERVICE}/Ignore failed: UNIMPLEMENTED"


async def test_a_stream_from_the_client_is_refused_before_the_handler_sees_it():
    reached = []

    async def ask(request: bytes, _: object) -> bytes:
        reached.append(request)
        return b""

    async with serving(ask=ask) as served, asking(served.address) as asker:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await asker.channel.stream_unary(f"/{SERVICE}/Tell")(iter([b"a"]))
    assert (caught.value.code(), reached) == (grpc.StatusCode.UNIMPLEMENTED, [])


async def test_a_message_over_the_limit_says_so():
    async with serving() as served, asking(served.address) as asker:
        with acting_for("acme"), pytest.raises(Exhausted, match="larger than max"):
            await call(asker.ask, bytes(65 * 1024 * 1024), cap_s=60)


async def test_a_call_outside_of_a_request_is_a_fault_of_ours():
    async with serving() as served, asking(served.address) as asker:
        with pytest.raises(Internal) as caught:
            await call(asker.ask, b"", cap_s=60)
    assert caught.value.reason == "NO_CALLER"


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.ALREADY_EXISTS, Conflict),
        (grpc.StatusCode.ABORTED, Conflict),
        (grpc.StatusCode.OUT_OF_RANGE, Invalid),
        (grpc.StatusCode.NOT_FOUND, NotFound),
        (grpc.StatusCode.CANCELLED, Unavailable),
        (grpc.StatusCode.DATA_LOSS, Internal),
        (grpc.StatusCode.DEADLINE_EXCEEDED, DeadlineExpired),
    ],
)
async def test_the_codes_of_a_peer_that_is_not_ours_keep_their_meaning(code: grpc.StatusCode, kind: type[PlimsollError]):
    assert type(await foreign(lambda context: context.abort(code, "so it is"))) is kind


async def foreign(answer: Callable[[grpc.aio.ServicerContext], Awaitable[None]]) -> PlimsollError:
    """The error that a server which is not ours makes of a call."""

    async def ask(_: bytes, context: grpc.aio.ServicerContext) -> bytes:
        await answer(context)
        return b""

    server = grpc.aio.server()
    handlers = {"Ask": grpc.unary_unary_rpc_method_handler(ask)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    port = server.add_insecure_port("localhost:0")
    await server.start()
    try:
        async with asking(f"localhost:{port}") as asker:
            with acting_for("acme"), pytest.raises(PlimsollError) as caught:
                await call(asker.ask, b"", cap_s=60)
    finally:
        await server.stop(0)
    return caught.value


async def test_details_that_are_no_status_leave_the_code():
    damaged = (("grpc-status-details-bin", b"\xff\xff\xff"),)
    error = await foreign(lambda context: context.abort(grpc.StatusCode.UNAVAILABLE, "away", damaged))
    assert type(error) is Unavailable

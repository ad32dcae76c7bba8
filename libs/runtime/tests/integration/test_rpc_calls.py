"""Calls between services: who may make them, until when they run, and how they end early."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from plimsoll.memory.v1 import memory_service_pb2, memory_service_pb2_grpc
from plimsoll_runtime import deadline, logs
from plimsoll_runtime.context import acting_for, current_caller
from plimsoll_runtime.errors import DeadlineExpired, Denied, PlimsollError, Unauthenticated, Unavailable
from plimsoll_runtime.metrics import Metrics
from plimsoll_runtime.rpc_client import call, stream
from plimsoll_runtime.rpc_server import PeerCertificates, RpcServer, RpcService
from plimsoll_runtime.settings import InvalidSettings, TlsSettings
from plimsoll_testkit import eventually
from runtime_probe import SERVICE, Asker, asking, certificates, probe_service, serving, settings

SOON = 60.0


async def who(_: bytes, __: object) -> bytes:
    caller = current_caller()
    return f"{caller.service}|{caller.tenant}|{caller.principal}".encode()


class Gate:
    """A handler that waits until the test lets it go, and tells how it ended."""

    def __init__(self) -> None:
        self.entered, self.released = asyncio.Event(), asyncio.Event()
        self.ended: list[str] = []

    async def ask(self, request: bytes, _: object) -> bytes:
        self.entered.set()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.released.wait())
        except asyncio.CancelledError:
            self.ended.append("cancelled")
            raise
        self.ended.append("answered")
        return request

    async def watch(self, request: bytes, _: object) -> AsyncIterator[bytes]:
        task = asyncio.current_task()
        try:
            yield b"begun"
            self.entered.set()
            await self.released.wait()
            yield request
        finally:
            self.ended.append("closed in its own task" if asyncio.current_task() is task else "closed by another task")


# --- callers -----------------------------------------------------------------------------------------------------------------


async def test_the_caller_is_who_its_certificate_says_and_works_for_the_tenant_it_names(tmp_path: Path):
    tls = certificates(tmp_path, "memory")
    async with serving(ask=who, tls=tls) as served, asking(served.address, certificates(tmp_path, "gateway")) as asker:
        with acting_for("acme", "key_1"):
            assert await call(asker.ask, b"", cap_s=SOON) == b"gateway|acme|key_1"
        with acting_for("Füße & Co %41", "Zoë "):
            assert (await call(asker.ask, b"", cap_s=SOON)).decode() == "gateway|Füße & Co %41|Zoë "


async def test_concurrent_calls_never_see_each_others_caller():
    meeting = asyncio.Barrier(20)

    async def meet(request: bytes, context: object) -> bytes:
        await meeting.wait()
        return await who(request, context)

    async def ask_for(asker: Asker, tenant: str) -> bytes:
        with acting_for(tenant):
            return await call(asker.ask, b"", cap_s=SOON)

    async with serving(ask=meet) as served, asking(served.address) as asker, asyncio.TaskGroup() as group:
        asked = {f"tenant{number}": group.create_task(ask_for(asker, f"tenant{number}")) for number in range(20)}
    assert {tenant: task.result().decode().split("|")[1] for tenant, task in asked.items()} == {tenant: tenant for tenant in asked}


def read(path: str) -> bytes:
    return Path(path).read_bytes()


async def refused(served_as: TlsSettings, calls_as: TlsSettings, tenant: str = "acme") -> PlimsollError:
    async with serving(ask=who, tls=served_as) as served, asking(served.address, calls_as) as asker:
        with acting_for(tenant), pytest.raises(PlimsollError) as caught:
            await call(asker.ask, b"", cap_s=SOON)
    return caught.value


async def test_a_service_that_is_not_on_the_list_is_denied(tmp_path: Path):
    error = await refused(certificates(tmp_path, "memory"), certificates(tmp_path, "feedback"))
    assert (type(error), error.reason) == (Denied, "CALLER_NOT_ALLOWED")
    assert f"feedback may not call /{SERVICE}/Ask" in error.message


async def test_a_call_without_a_tenant_is_denied(tmp_path: Path):
    error = await refused(certificates(tmp_path, "memory"), certificates(tmp_path, "gateway"), tenant="")
    assert (type(error), error.reason) == (Denied, "NO_TENANT")


async def test_a_certificate_of_another_authority_gets_no_connection(tmp_path: Path):
    ours, theirs = certificates(tmp_path / "ours", "memory"), certificates(tmp_path / "theirs", "gateway")
    stranger = grpc.ssl_channel_credentials(read(ours.ca), read(theirs.key), read(theirs.certificate))  # believes us; we do not believe it
    async with serving(ask=who, tls=ours) as served, grpc.aio.secure_channel(served.address, stranger) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(f"/{SERVICE}/Ask")(b"", timeout=SOON)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    mixed = TlsSettings(ca=ours.ca, certificate=theirs.certificate, key=theirs.key)
    with pytest.raises(InvalidSettings, match="does not hold against"):  # a client of ours would not even begin
        await refused(ours, mixed)


async def test_no_certificate_gets_no_connection(tmp_path: Path):
    tls = certificates(tmp_path, "memory")
    only_believes = grpc.ssl_channel_credentials(root_certificates=read(tls.ca))
    async with serving(ask=who, tls=tls) as served, grpc.aio.secure_channel(served.address, only_believes) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(f"/{SERVICE}/Ask")(b"", timeout=SOON)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_plaintext_gets_no_answer_from_a_server_with_certificates(tmp_path: Path):
    assert type(await refused(certificates(tmp_path, "memory"), TlsSettings())) is Unavailable


async def test_a_server_under_another_name_is_not_believed(tmp_path: Path):
    tls = certificates(tmp_path, "feedback")
    async with serving(ask=who, tls=tls) as served, asking(served.address, certificates(tmp_path, "gateway"), "memory") as asker:
        with acting_for("acme"), pytest.raises(Unavailable):
            await call(asker.ask, b"", cap_s=SOON)


async def test_a_certificate_is_asked_for_even_when_the_transport_did_not():
    async with serving(ask=who, authenticate=PeerCertificates(frozenset({"gateway"}))) as served, asking(served.address) as asker:
        with acting_for("acme"), pytest.raises(Unauthenticated) as caught:
            await call(asker.ask, b"", cap_s=SOON)
    assert caught.value.reason == "NO_CERTIFICATE"


async def test_a_key_file_that_is_missing_is_named(tmp_path: Path):
    tls = replace(certificates(tmp_path, "memory"), key=str(tmp_path / "gone.key"))
    with pytest.raises(InvalidSettings, match=r"gone\.key cannot be read: No such file"):
        async with serving(tls=tls):
            pass


# --- deadlines ---------------------------------------------------------------------------------------------------------------


async def test_the_deadline_of_the_first_caller_travels_over_two_hops():
    left: dict[str, float | None] = {}

    async def last(_: bytes, __: object) -> bytes:
        left["last"] = deadline.remaining_s()
        return b""

    async with serving(ask=last) as end, asking(end.address) as onward:

        async def middle(_: bytes, __: object) -> bytes:
            left["middle"] = deadline.remaining_s()
            return await call(onward.ask, b"", cap_s=60.0)

        async with serving(ask=middle) as entry, asking(entry.address) as asker:
            with acting_for("acme"):
                await call(asker.ask, b"", cap_s=7.0)
    assert 5.0 < (left["middle"] or 0) < 7.1  # gRPC rounds up to the next hundredth or so
    assert 5.0 < (left["last"] or 0) < 7.1


async def test_an_expired_deadline_ends_the_work_at_every_hop():
    end_gate, endings = Gate(), []
    async with serving(ask=end_gate.ask) as end, asking(end.address) as onward:

        async def middle(_: bytes, __: object) -> bytes:
            try:
                return await call(onward.ask, b"", cap_s=60.0)
            except (asyncio.CancelledError, DeadlineExpired) as error:
                endings.append(type(error))
                raise

        async with serving(ask=middle) as entry, asking(entry.address) as asker:
            with acting_for("acme"), pytest.raises(DeadlineExpired):
                await call(asker.ask, b"", cap_s=0.2)
            await eventually(lambda: endings and end_gate.ended == ["cancelled"])


async def test_an_expired_deadline_is_logged_as_one_not_as_a_client_that_left(caplog: pytest.LogCaptureFixture):
    caplog.set_level("INFO", "plimsoll")
    async with serving(ask=Gate().ask) as served, asking(served.address) as asker:
        with acting_for("acme"), pytest.raises(DeadlineExpired):
            await call(asker.ask, b"", cap_s=0.1)
        [line] = await eventually(lambda: [record for record in caplog.records if record.message == "rpc.answered"])
    assert line.__dict__["fields"]["code"] == "DEADLINE_EXCEEDED"
    assert [record for record in caplog.records if record.levelname in {"ERROR", "WARNING"}] == []


async def test_a_request_without_a_deadline_gets_the_servers():
    gate = Gate()
    async with serving(ask=gate.ask, request_cap_s=0.1) as served, asking(served.address) as asker:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async with asyncio.timeout(SOON):
                await asker.ask(b"", metadata=(("plimsoll-tenant", "acme"),))
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert gate.ended == ["cancelled"]


async def test_nothing_is_sent_when_no_time_is_left():
    gate = Gate()
    async with serving(ask=gate.ask) as served, asking(served.address) as asker:
        with acting_for("acme"), deadline.expiring(-0.1), pytest.raises(DeadlineExpired):
            await call(asker.ask, b"", cap_s=SOON)
    assert not gate.entered.is_set()


# --- cancellation ------------------------------------------------------------------------------------------------------------


async def test_a_client_that_leaves_cancels_the_handler_and_what_it_started():
    gate = Gate()
    async with serving(ask=gate.ask) as served, asking(served.address) as asker:

        async def ask() -> None:
            with acting_for("acme"):
                await call(asker.ask, b"", cap_s=SOON)

        async with asyncio.TaskGroup() as group:
            asked = group.create_task(ask())
            await gate.entered.wait()
            asked.cancel()
        await eventually(lambda: gate.ended == ["cancelled"])


async def test_leaving_a_stream_closes_it_at_once_in_its_own_task(caplog: pytest.LogCaptureFixture):
    caplog.set_level("INFO", "plimsoll")
    gate = Gate()
    async with serving(watch=gate.watch) as served, asking(served.address) as asker:
        with acting_for("acme"):
            async with aclosing(stream(asker.watch, b"", cap_s=SOON)) as answers:
                async for answer in answers:
                    assert answer == b"begun"
                    break
        await eventually(lambda: gate.ended == ["closed in its own task"])
        [line] = await eventually(lambda: [record for record in caplog.records if record.message == "rpc.answered"])
    assert line.__dict__["fields"]["code"] == "CANCELLED"
    assert [record for record in caplog.records if record.levelname in {"ERROR", "WARNING"}] == []


async def test_a_client_that_leaves_while_much_is_written_is_no_fault(caplog: pytest.LogCaptureFixture):
    ended: list[bool] = []

    async def flood(_: bytes, __: object) -> AsyncIterator[bytes]:
        task = asyncio.current_task()
        try:
            while True:
                yield bytes(64 * 1024)
        finally:
            ended.append(asyncio.current_task() is task)

    async with serving(watch=flood) as served, asking(served.address) as asker:
        with acting_for("acme"):
            async with aclosing(stream(asker.watch, b"", cap_s=SOON)) as answers:
                async for _ in answers:
                    break
        await eventually(lambda: ended == [True])
    assert [record for record in caplog.records if record.levelname in {"ERROR", "WARNING"}] == []


async def test_a_stream_is_whole_and_in_order():
    async with serving() as served, asking(served.address) as asker:
        with acting_for("acme"):
            got = [int(answer) async for answer in stream(asker.watch, b"500", cap_s=SOON)]
    assert got == list(range(500))


# --- the server's own life ---------------------------------------------------------------------------------------------------


async def health(channel: grpc.aio.Channel, service: str) -> bytes:
    asked = b"\x0a" + bytes([len(service)]) + service.encode() if service else b""
    return await channel.unary_unary("/grpc.health.v1.Health/Check")(asked, timeout=SOON)


async def test_health_follows_what_the_service_says_and_needs_no_caller():
    serves, does_not = b"\x08\x01", b"\x08\x02"
    async with serving() as served, grpc.aio.insecure_channel(served.address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await health(channel, SERVICE)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND  # not told yet
        await served.server.set_serving(True)
        assert (await health(channel, ""), await health(channel, SERVICE)) == (serves, serves)
        await served.server.set_serving(False)
        assert (await health(channel, ""), await health(channel, SERVICE)) == (does_not, does_not)


async def test_reflection_lists_the_services():
    name = memory_service_pb2.DESCRIPTOR.services_by_name["MemoryService"].full_name
    memory = RpcService(
        name,
        lambda server: memory_service_pb2_grpc.add_MemoryServiceServicer_to_server(memory_service_pb2_grpc.MemoryServiceServicer(), server),
    )
    async with serving(services=(memory,)) as served, grpc.aio.insecure_channel(served.address) as channel:
        asked = channel.stream_stream("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")(iter([b"\x3a\x01*"]))
        listed = await asked.read()
        asked.cancel()
    assert name.encode() in listed
    assert b"grpc.health.v1.Health" in listed


async def test_work_in_flight_finishes_within_the_grace_and_new_work_is_refused():
    gate = Gate()
    async with serving(ask=gate.ask) as served, asking(served.address) as asker:
        with acting_for("acme"):
            async with asyncio.TaskGroup() as group:
                asked = group.create_task(call(asker.ask, b"mine", cap_s=SOON))
                await gate.entered.wait()
                stopping = group.create_task(served.server.stop(SOON))
                await eventually(lambda: refuses(served.address))
                gate.released.set()
                await stopping
    assert asked.result() == b"mine"


async def refuses(address: str) -> bool:
    async with asking(address) as newcomer:
        with acting_for("acme"):
            try:
                await call(newcomer.ask, b"", cap_s=1.0)
            except Unavailable:
                return True
            except DeadlineExpired:  # it got in before the door closed
                return False
    return False


async def test_work_that_outlasts_the_grace_is_cut_off():
    gate = Gate()
    async with serving(ask=gate.ask) as served, asking(served.address) as asker:
        with acting_for("acme"):
            async with asyncio.TaskGroup() as group:
                asked = group.create_task(caught(call(asker.ask, b"", cap_s=SOON)))
                await gate.entered.wait()
                begun = time.monotonic()
                await served.server.stop(0.1)
                took = time.monotonic() - begun
    assert isinstance(asked.result(), Unavailable)
    assert 0.1 <= took < SOON
    await eventually(lambda: gate.ended == ["cancelled"])


async def caught(asked: Awaitable[object]) -> PlimsollError | None:
    try:
        await asked
    except PlimsollError as error:
        return error
    return None


async def test_a_port_that_is_taken_is_named():
    async with serving() as served:
        nobody = PeerCertificates(frozenset())
        second = RpcServer(settings(), [probe_service()], nobody, Metrics(), logs.get("probe"), listen=served.address)
        with pytest.raises(OSError, match=rf"cannot listen on {served.address}: is the port taken\?"):
            await second.start()

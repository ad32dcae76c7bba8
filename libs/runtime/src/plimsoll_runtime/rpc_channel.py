"""A channel to a peer that is opened anew, below the stubs that use it, when our certificate has been renewed."""

import asyncio
import time
from collections.abc import Callable
from typing import Any, Self, TypeAlias

import grpc

from plimsoll_runtime.tls import RenewedFiles

Open: TypeAlias = Callable[[], grpc.aio.Channel]
_LOOK_EVERY_S = 1.0
_OLD_CALLS_S = 3600.0  # what a call that began on the old connection may still take; a stream is resumed by whoever reads it


class RenewableChannel(grpc.aio.Channel):
    """What a stub asks of a channel. Every call goes over the present one; calls under way end where they began."""

    def __init__(self, open_: Open, files: RenewedFiles) -> None:
        self._open = open_
        self._files = files
        self._present = open_()
        self._generation = 0
        self._looked = time.monotonic()
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def present(self) -> grpc.aio.Channel:
        """The channel that calls go over now."""
        now = time.monotonic()
        if now - self._looked >= _LOOK_EVERY_S:
            self._looked = now
            if self._files.look():
                old, self._present = self._present, self._open()
                self._generation += 1
                closing = asyncio.get_running_loop().create_task(old.close(grace=_OLD_CALLS_S))
                self._closing.add(closing)
                closing.add_done_callback(self._closing.discard)
        return self._present

    @property
    def generation(self) -> int:
        """How often it was opened anew."""
        return self._generation

    # The signatures are grpc's own.
    def unary_unary(
        self, method: str, request_serializer: Any = None, response_deserializer: Any = None, _registered_method: bool | None = False
    ) -> Any:
        return _Method(self, method, lambda now: now.unary_unary(method, request_serializer, response_deserializer, _registered_method))  # type: ignore[call-arg] # the stubs are behind

    def unary_stream(
        self, method: str, request_serializer: Any = None, response_deserializer: Any = None, _registered_method: bool | None = False
    ) -> Any:
        return _Method(self, method, lambda now: now.unary_stream(method, request_serializer, response_deserializer, _registered_method))  # type: ignore[call-arg] # the stubs are behind

    def stream_unary(
        self, method: str, request_serializer: Any = None, response_deserializer: Any = None, _registered_method: bool | None = False
    ) -> Any:
        return _Method(self, method, lambda now: now.stream_unary(method, request_serializer, response_deserializer, _registered_method))  # type: ignore[call-arg] # the stubs are behind

    def stream_stream(
        self, method: str, request_serializer: Any = None, response_deserializer: Any = None, _registered_method: bool | None = False
    ) -> Any:
        return _Method(self, method, lambda now: now.stream_stream(method, request_serializer, response_deserializer, _registered_method))  # type: ignore[call-arg] # the stubs are behind

    async def close(self, grace: float | None = None) -> None:
        """Close the present channel, and those that still wait for their last calls."""
        for closing in list(self._closing):
            closing.cancel()
        await asyncio.gather(*self._closing, return_exceptions=True)
        await self._present.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        return self.present.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        await self.present.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        await self.present.channel_ready()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class _Method:
    """One method over whichever channel is the present one."""

    __slots__ = ("_call", "_channel", "_generation", "_make", "_method")

    def __init__(self, channel: RenewableChannel, method: str, make: Callable[[grpc.aio.Channel], Any]) -> None:
        self._channel = channel
        self._make = make
        self._method = method.encode()  # where errors look for its name
        self._generation = channel.generation
        self._call = make(channel.present)

    def __call__(
        self,
        request: Any = None,
        *,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        present = self._channel.present
        if self._generation != self._channel.generation:
            self._generation, self._call = self._channel.generation, self._make(present)
        return self._call(
            request, timeout=timeout, metadata=metadata, credentials=credentials, wait_for_ready=wait_for_ready, compression=compression
        )

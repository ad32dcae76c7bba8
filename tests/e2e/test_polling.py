"""For those who cannot keep a stream open: asking again and again tells the same as following. And what was done with keys is told."""

import pytest
from plimsoll_client.mesh import Mesh as Client

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.e2e, pytest.mark.xdist_group("mesh")]


async def test_polling_from_position_to_position_tells_what_the_stream_tells(client: Client) -> None:
    run = await client.runs.submit("canary", {"canary": "canary-polled"})
    polled, after_seq, ended = [], 0, False
    while not ended:
        answer = await client.runs.poll(run.id, after_seq=after_seq, wait_s=10.0, limit=3)
        assert len(answer.entries) <= 3
        polled += answer.entries
        after_seq, ended = answer.after_seq, answer.ended
    assert polled == [entry async for entry in client.runs.follow(run.id)]


async def test_what_was_done_with_a_key_is_told_newest_first(client: Client) -> None:
    made = await client.keys.create("told", ("viewer",))
    await client.keys.revoke(made.key.key_id)
    told = [(one.action, one.subject) for one in await client.keys.events() if one.subject == f"key:{made.key.key_id}"]
    assert told == [("key.revoked", f"key:{made.key.key_id}"), ("key.created", f"key:{made.key.key_id}")]

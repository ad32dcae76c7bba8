"""Journals that earlier releases have written: each is read, folded and written as it was then, for ever.

`kept_journals.jsonl` has a run in each line: where its graph starts, its entries with their times, and the run that was folded from them,
as it is stored in a snapshot. Lines are added with each new kind or field of an entry; none is ever changed.
"""

from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import get_args

import orjson
import pytest
from plimsoll_orchestrator.domain.fold import fold
from plimsoll_orchestrator.domain.journal import Entry, decode_entry, encode_entry, kind_of
from plimsoll_orchestrator.domain.run import Run
from plimsoll_orchestrator.domain.snapshot import decode_run, encode_run

LINES = Path(__file__).with_name("kept_journals.jsonl").read_bytes().splitlines()
FIRST, DIGEST_OF_FIRST = 35, "c790fdb69336d8ef38c14dd05c6cf714203a480a1c5a5f6679e564b0a971f8a0"


@pytest.mark.parametrize("line", LINES, ids=range(len(LINES)))
def test_a_kept_journal_is_folded_as_it_was_by_the_release_that_wrote_it(line: bytes) -> None:
    kept = orjson.loads(line)
    entries = [decode_entry(text) for _, text in kept["entries"]]
    fresh = Run(run_id=kept["run_id"], tenant="acme", agent=kept["agent"], agent_digest=kept["agent_digest"])
    times = [datetime.fromisoformat(at) for at, _ in kept["entries"]]
    run = fold(fresh, zip(range(1, len(entries) + 1), times, entries, strict=True), kept["start"])
    assert run == decode_run(kept["run"])
    assert decode_run(encode_run(run)) == run


@pytest.mark.parametrize("line", LINES, ids=range(len(LINES)))
def test_a_kept_entry_is_written_as_it_was_read(line: bytes) -> None:
    for _, text in orjson.loads(line)["entries"]:
        assert encode_entry(decode_entry(text)) == text


def test_every_kind_of_entry_is_kept() -> None:
    known = {kind.__struct_config__.tag for kind in get_args(Entry)}
    assert {kind_of(decode_entry(text)) for line in LINES for _, text in orjson.loads(line)["entries"]} == known


def test_lines_are_only_ever_added() -> None:
    assert sha256(b"\n".join(LINES[:FIRST])).hexdigest() == DIGEST_OF_FIRST

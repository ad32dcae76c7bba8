"""The promises, each held against what is there: pure, so that a test can show of each that it may be found broken."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from google.protobuf.message import Message
from workload import Accepted

_DEATHS, _DEATH = 3, re.compile(r"\S+:\d+ at \d\d:\d\d:\d\d")  # as the claim of the next worker notes the end of the last


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run that a client started, as the orchestrator's table has it."""

    run_id: str
    tenant: str
    key: str
    status: str


def accepted_runs(accepted: Sequence[Accepted], runs: Sequence[Run]) -> list[str]:
    """No accepted run is lost, none is there twice, and each belongs to whoever submitted it."""
    there = {run.run_id: run for run in runs}
    keys = Counter((run.tenant, run.key) for run in runs if run.key)
    return [
        *(f"{run.run_id}: accepted, and lost" for run in accepted if run.run_id not in there),
        *(f"{key}: {times} runs under one key" for (_, key), times in keys.items() if times > 1),
        *(
            f"{run.run_id}: submitted by {run.tenant}, and of {there[run.run_id].tenant}"
            for run in accepted
            if run.run_id in there and there[run.run_id].tenant != run.tenant
        ),
    ]


def effects(accepted: Sequence[Accepted], statuses: Mapping[str, str], counted: Mapping[str, int], struck: Mapping[str, int]) -> list[str]:
    """No effect twice; each that a run says it had is there; and none that no run was to have."""
    found = []
    for run in accepted:
        if run.agent != "outside":
            continue
        name, succeeded = str(run.input["name"]), statuses.get(run.run_id) == "succeeded"
        for what, times in (("counted", counted.get(name, 0)), ("struck", struck.get(name, 0))):
            if times > 1 or (succeeded and times != 1):
                found.append(f"{run.run_id}: {name} was {what} {times} times")
    strangers = (counted.keys() | struck.keys()) - {str(run.input.get("name")) for run in accepted}
    return found + [f"{name}: an effect of no accepted run" for name in sorted(strangers)]


def unknown_outcomes(unknown: Sequence[str], said: set[str]) -> list[str]:
    """Whatever may have acted and nobody knows was said to somebody: its run did not go on as if nothing had been."""
    return [f"{run_id}: the outcome of a call is unknown, and its run does not say so" for run_id in unknown if run_id not in said]


def tenants(what: str, of: Sequence[tuple[str, str]], runs: Mapping[str, str]) -> list[str]:
    """Whatever was done or noted for a run, (tenant, run id), is of the tenant of that run. `runs` are tenants by run id."""
    return [
        f"{run_id}: {what} of {tenant}, and it is {f'of {runs[run_id]}' if run_id in runs else 'no run'}"
        for tenant, run_id in sorted(set(of))
        if run_id and runs.get(run_id) != tenant
    ]


def set_aside(resumed: set[str], evidence: Mapping[str, Sequence[str]]) -> list[str]:
    """Whatever was set aside was so for the deaths of its workers, each on record in its journal; never because the engine broke on it."""
    return [
        *(f"{run_id}: set aside, and its journal does not say why" for run_id in sorted(resumed - evidence.keys())),
        *(
            f"{run_id}: set aside, and not for its workers' deaths: {said}"
            for run_id, said in evidence.items()
            if len(said) < _DEATHS or not all(map(_DEATH.fullmatch, said))
        ),
    ]


def stream(run_id: str, told: Sequence[Message], journal: Sequence[Message]) -> list[str]:
    """What a client is streamed is the journal: entry for entry, with all that is in them."""
    if len(told) != len(journal):
        return [f"{run_id}: {len(told)} entries are streamed, and its journal has {len(journal)}"]
    return [
        f"{run_id}: entry {place} is streamed as another than it is"
        for place, (one, other) in enumerate(zip(told, journal, strict=True), 1)
        if one != other
    ]

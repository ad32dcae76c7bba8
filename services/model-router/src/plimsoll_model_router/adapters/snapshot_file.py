"""The last known good registry in a file: what a replica starts from while Postgres is away."""

import os
from datetime import datetime
from pathlib import Path

from plimsoll_runtime import logs
from plimsoll_runtime.errors import Invalid
from plimsoll_runtime.json_types import JsonObject, JsonValue, dump_json, parse_object

from plimsoll_model_router.domain import entries
from plimsoll_model_router.domain.entries import Entry, Kind
from plimsoll_model_router.domain.labels import EntryReference
from plimsoll_model_router.domain.prompts import ByDigest, ByLabel, ByVersion, Selector
from plimsoll_model_router.domain.registry_cache import Labelled, RegistryCache

_FORM = 1


class SnapshotFile:
    """`path` None switches it off."""

    def __init__(self, path: Path | None, cache: RegistryCache, log: logs.Log) -> None:
        self._path = path
        self._cache = cache
        self._log = log
        self._saved = ""

    def load(self) -> bool:
        """Fill the cache; whether there was anything. Everything in it counts as stale: the store is asked first."""
        if self._path is None or not self._path.exists():
            return False
        try:
            told = parse_object(self._path.read_bytes())
            self._fill(told)
        except (OSError, Invalid, KeyError, ValueError, AssertionError) as error:
            self._log.error("snapshot.unreadable", {"path": str(self._path), "error": type(error).__name__})
            return False
        self._cache.note_all()
        return True

    def save(self) -> None:
        """Write what is known now, in one piece or not at all; nothing when nothing changed."""
        if self._path is None:
            return
        text = dump_json(self._told())
        if text == self._saved:
            return
        beside = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            beside.write_text(text)
            beside.replace(self._path)
            self._saved = text
        except OSError as error:
            self._log.warning("snapshot.not_saved", {"path": str(self._path), "error": str(error.strerror)})

    def _told(self) -> JsonObject:
        known: list[JsonValue] = [
            {"tenant": tenant, **_reference_to_plain(reference), "entry": _entry_to_plain(entry)}
            for tenant, reference, entry in self._cache.known()
        ]
        labelled: list[JsonValue] = [
            {
                "tenant": one.tenant,
                "kind": one.kind.value,
                "label": one.label,
                "entries": [_entry_to_plain(entry) for entry in one.entries],
            }
            for one in self._cache.known_labelled()
        ]
        return {"form": _FORM, "known": known, "labelled": labelled}

    def _fill(self, told: JsonObject) -> None:
        if told["form"] != _FORM:
            raise ValueError("another form")
        known, labelled = told["known"], told["labelled"]
        assert isinstance(known, list)
        assert isinstance(labelled, list)
        for one in known:
            assert isinstance(one, dict)
            self._cache.put(str(one["tenant"]), _reference_from_plain(one), _entry_from_plain(one["entry"]))
        for one in labelled:
            assert isinstance(one, dict)
            listed = one["entries"]
            assert isinstance(listed, list)
            found = Labelled(
                tenant=str(one["tenant"]),
                kind=Kind(str(one["kind"])),
                label=str(one["label"]),
                entries=tuple(_entry_from_plain(entry) for entry in listed),
            )
            self._cache.put_labelled(found, asked=self._cache.noted)


def _reference_to_plain(reference: EntryReference) -> JsonObject:
    by: JsonObject
    match reference.selector:
        case ByLabel(label=label):
            by = {"by": "label", "value": label}
        case ByVersion(version=version):
            by = {"by": "version", "value": version}
        case ByDigest(digest=digest):
            by = {"by": "digest", "value": digest}
    return {"kind": reference.kind.value, "name": reference.name, **by}


def _reference_from_plain(value: JsonObject) -> EntryReference:
    told = value["value"]
    selector: Selector
    match value["by"]:
        case "label":
            selector = ByLabel(label=str(told))
        case "version":
            selector = ByVersion(version=int(str(told)))
        case _:
            selector = ByDigest(digest=str(told))
    return EntryReference(kind=Kind(str(value["kind"])), name=str(value["name"]), selector=selector)


def _entry_to_plain(entry: Entry) -> JsonObject:
    return {
        "kind": entry.kind.value,
        "name": entry.name,
        "version": entry.version,
        "digest": entry.digest,
        "description": entry.content.description,
        "content": entries.to_plain(entry.content),
        "created_at": entry.created_at.isoformat(),
        "created_by": entry.created_by,
        "labels": [*entry.labels],
    }


def _entry_from_plain(value: JsonValue) -> Entry:
    assert isinstance(value, dict)
    content, listed = value["content"], value["labels"]
    assert isinstance(content, dict)
    assert isinstance(listed, list)
    return Entry(
        content=entries.from_plain(Kind(str(value["kind"])), str(value["name"]), str(value["description"]), content),
        version=int(str(value["version"])),
        digest=str(value["digest"]),
        created_at=datetime.fromisoformat(str(value["created_at"])),
        created_by=str(value["created_by"]),
        labels=tuple(map(str, listed)),
    )

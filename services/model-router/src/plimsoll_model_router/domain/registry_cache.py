"""What a replica knows of the registry: versions for ever, labels until somebody moves one. Bounded; also the last known good."""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from plimsoll_model_router.domain.entries import Entry, Kind
from plimsoll_model_router.domain.labels import EntryReference
from plimsoll_model_router.domain.prompts import ByDigest, ByLabel, ByVersion

_MOST = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """Some label of something moved."""

    position: int
    tenant: str
    kind: Kind
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """All of one kind that a label of a tenant points at."""

    tenant: str
    kind: Kind
    label: str
    entries: tuple[Entry, ...]


class RegistryCache:
    """What is not used for longest is forgotten first. A label that moved is stale: known, and to be asked for again."""

    def __init__(self) -> None:
        self._entries: OrderedDict[tuple[str, EntryReference], Entry] = OrderedDict()
        self._labelled: OrderedDict[tuple[str, Kind, str], tuple[Entry, ...]] = OrderedDict()
        self._stale: set[tuple[str, Kind, str]] = set()  # names whose labels are
        self._stale_kinds: set[tuple[str, Kind]] = set()
        self.noted = 0  # moves heard of; what was asked for before the last one may be old

    def get(self, tenant: str, reference: EntryReference, *, stale: bool = False) -> Entry | None:
        """The version, as far as it is known for sure; with `stale` also what a label pointed at last."""
        if not stale and isinstance(reference.selector, ByLabel) and (tenant, reference.kind, reference.name) in self._stale:
            return None
        found = self._entries.get((tenant, reference))
        if found is not None:
            self._entries.move_to_end((tenant, reference))
        return found

    def labelled(self, tenant: str, kind: Kind, label: str, *, stale: bool = False) -> tuple[Entry, ...] | None:
        if not stale and (tenant, kind) in self._stale_kinds:
            return None
        return self._labelled.get((tenant, kind, label))

    def put(self, tenant: str, reference: EntryReference, entry: Entry) -> None:
        self._entries[tenant, reference] = entry
        self._entries.move_to_end((tenant, reference))
        if len(self._entries) > _MOST:
            self._entries.popitem(last=False)

    def refresh(self, tenant: str, reference: EntryReference, entry: Entry, *, asked: int) -> None:
        """What the store says, asked when `asked` moves had been noted: an answer that a move overtook is not kept."""
        if asked != self.noted:
            return
        name = (tenant, reference.kind, reference.name)
        if name in self._stale:
            self._drop_labels(name)
            self._stale.discard(name)
        self.put(tenant, reference, entry)

    def put_labelled(self, told: Labelled, *, asked: int) -> None:
        if asked != self.noted:
            return
        if (told.tenant, told.kind) in self._stale_kinds:
            for key in [key for key in self._labelled if key[:2] == (told.tenant, told.kind)]:
                del self._labelled[key]
            self._stale_kinds.discard((told.tenant, told.kind))
        self._labelled[told.tenant, told.kind, told.label] = told.entries
        if len(self._labelled) > _MOST:
            self._labelled.popitem(last=False)

    def note(self, moved: Moved) -> None:
        """A label of the name moved."""
        self.noted += 1
        if any(key[0] == moved.tenant and key[1].name == moved.name for key in self._entries):
            self._stale.add((moved.tenant, moved.kind, moved.name))
        self._stale_kinds.add((moved.tenant, moved.kind))

    def note_all(self) -> None:
        """Moves may have been missed: every label is stale."""
        self.noted += 1
        self._stale |= {(tenant, reference.kind, reference.name) for tenant, reference in self._entries}
        self._stale_kinds |= {key[:2] for key in self._labelled}

    def known(self) -> Iterator[tuple[str, EntryReference, Entry]]:
        """All versions under the references that they were asked for by."""
        for (tenant, reference), entry in self._entries.items():
            yield tenant, reference, entry

    def known_labelled(self) -> Sequence[Labelled]:
        return [Labelled(tenant=tenant, kind=kind, label=label, entries=told) for (tenant, kind, label), told in self._labelled.items()]

    def _drop_labels(self, name: tuple[str, Kind, str]) -> None:
        for key in [
            key
            for key in self._entries
            if (key[0], key[1].kind, key[1].name) == name and not isinstance(key[1].selector, ByVersion | ByDigest)
        ]:
            del self._entries[key]

"""The registry's verbs: registering versions, and moving labels over them by the rules."""

from collections.abc import Sequence
from dataclasses import replace

from plimsoll_runtime.errors import FieldProblem

from plimsoll_model_router.domain import entries, labels, routing
from plimsoll_model_router.domain.differences import Difference, differences
from plimsoll_model_router.domain.entries import Content, Entry, Kind
from plimsoll_model_router.domain.labels import NOWHERE, EntryReference, Grounds, Move
from plimsoll_model_router.domain.prompts import ByLabel, ByVersion, PromptReference
from plimsoll_model_router.domain.reports import allows
from plimsoll_model_router.domain.routes import Route
from plimsoll_model_router.errors import InvalidLabel, LabelProtected, ReportRefused, UnknownEntry, UnknownPrompt
from plimsoll_model_router.ports import Announce, RegistryStore, Reports
from plimsoll_model_router.service.catalogue import Catalogue

_MOVES_READ = 1000


class Registry:
    """`protected` are the labels that move only with a passing evaluation report; `announce` tells all replicas of a move."""

    def __init__(
        self, store: RegistryStore, catalogue: Catalogue, reports: Reports, announce: Announce, *, protected: frozenset[str]
    ) -> None:
        self._store = store
        self._catalogue = catalogue
        self._reports = reports
        self._announce = announce
        self._protected = protected

    async def register(self, tenant: str, content: Content, wanted: Sequence[str], by: str) -> tuple[Entry, bool]:
        """The version with this content, and whether it is new; the labels point at it afterwards.

        Raises InvalidPrompt, InvalidModel, InvalidRoute, UnknownModel or InvalidLabel, and LabelProtected for a label that needs a report: the
        version is then registered, and the label where it was.
        """
        for label in wanted:
            labels.checked(label)
        entries.checked(content, self._catalogue.providers)
        if isinstance(content, Route):  # who names nobody would break every question of its task
            routing.candidates(await self._catalogue.models(tenant), content, wanted="")
        entry, created = await self._store.register(tenant, content, by)
        for label in dict.fromkeys(wanted):
            await self._move(tenant, entry, label, _towards(entry, label, by))
        if wanted:
            entry = await self._store.get(tenant, _by_version(entry.kind, entry.name, entry.version))
        return entry, created

    async def get(self, tenant: str, reference: EntryReference) -> Entry:
        """Raises UnknownPrompt or UnknownEntry. Asks the store: its labels are those of this moment."""
        return await self._store.get(tenant, reference)

    async def get_prompt(self, tenant: str, reference: PromptReference) -> Entry:
        """Raises UnknownPrompt."""
        return await self.get(tenant, EntryReference(kind=Kind.PROMPT, name=reference.name, selector=reference.selector))

    async def newest(self, tenant: str, kind: Kind, after: str, limit: int) -> Sequence[Entry]:
        """The newest version of each name, by name, beginning behind the name `after`."""
        return await self._store.newest(tenant, kind, after, limit)

    async def versions(self, tenant: str, kind: Kind, name: str, before: int, limit: int) -> Sequence[Entry]:
        """The versions of one name, newest first."""
        return await self._store.versions(tenant, kind, name, before, limit)

    async def differences(self, tenant: str, before: EntryReference, after: EntryReference) -> tuple[Difference, ...]:
        """What differs between two versions of one name. Raises InvalidLabel for two names."""
        if (before.kind, before.name) != (after.kind, after.name):
            raise InvalidLabel(problems=(FieldProblem("after.name", "is another one than that of `before`", "name two versions of one"),))
        return differences((await self._store.get(tenant, before)).content, (await self._store.get(tenant, after)).content)

    async def move_label(self, tenant: str, target: EntryReference, label: str, report_digest: str, by: str) -> tuple[Move, bool]:
        """Point a label at a version, and whether it was elsewhere. Raises LabelProtected, ReportRefused or ReportUnverified."""
        labels.checked(label)
        entry = await self._store.get(tenant, labels.unlabelled(target))
        return await self._move(tenant, entry, label, replace(_towards(entry, label, by), report_digest=report_digest))

    async def override_label(self, tenant: str, target: EntryReference, label: str, reason: str, by: str) -> tuple[Move, bool]:
        """Point a label at a version without a report; who did it and why is recorded."""
        labels.checked(label, reason=reason)
        entry = await self._store.get(tenant, labels.unlabelled(target))
        wanted = replace(_towards(entry, label, by), grounds=Grounds.OVERRIDE, reason=reason)
        return await self._move(tenant, entry, label, wanted)

    async def roll_back_label(self, tenant: str, kind: Kind, name: str, label: str, reason: str, by: str) -> Move:
        """Point a label at the version it pointed at before. Raises NothingBefore."""
        labels.checked(label)
        present = await self._store.get(tenant, EntryReference(kind=kind, name=name, selector=ByLabel(label=label)))
        moves = await self._store.moves(tenant, kind, name, label, 0, _MOVES_READ)
        back = labels.version_before(moves, present.version)
        move = Move(
            kind=kind,
            name=name,
            label=label,
            from_version=present.version,
            to_version=back,
            grounds=Grounds.ROLLBACK,
            reason=reason,
            moved_by=by,
        )
        return await self._moved(tenant, move)

    async def moves(self, tenant: str, kind: Kind, name: str, before: int, limit: int) -> Sequence[Move]:
        """Every move of labels, newest first."""
        return await self._store.moves(tenant, kind, name, "", before, limit)

    async def _move(self, tenant: str, entry: Entry, label: str, wanted: Move) -> tuple[Move, bool]:
        """Move the label when it may move; `wanted` tells by whom and on which grounds."""
        baseline = await self._at(tenant, entry.kind, entry.name, label)
        if baseline is not None and baseline.version == entry.version:
            return replace(wanted, from_version=entry.version), False
        grounds = await self._grounds(entry, baseline, wanted)
        from_version = baseline.version if baseline is not None else NOWHERE
        return await self._moved(tenant, replace(wanted, from_version=from_version, grounds=grounds)), True

    async def _grounds(self, entry: Entry, baseline: Entry | None, wanted: Move) -> Grounds:
        """Why the label may move. Raises LabelProtected, ReportRefused or ReportUnverified when it may not."""
        if wanted.grounds is Grounds.OVERRIDE:
            return Grounds.OVERRIDE
        if baseline is None:
            return Grounds.FIRST
        if wanted.label not in self._protected:
            return Grounds.OPEN
        if not wanted.report_digest:
            raise LabelProtected(
                f"the label {wanted.label} of {entry.name} is protected: it points at version {baseline.version}, not {entry.version}",
                remedy="evaluate the version against the present one and move the label with the report, or move another label",
            )
        report = await self._reports.get(wanted.report_digest)
        if report is None:
            raise ReportRefused("feedback knows no evaluation report with this digest", remedy="take the digest from the evaluation")
        allows(report, wanted.report_digest, entry, baseline)
        return Grounds.REPORT

    async def _moved(self, tenant: str, move: Move) -> Move:
        audited = move.label in self._protected or move.grounds is Grounds.OVERRIDE
        moved = await self._store.move(tenant, move, audited=audited)
        await self._announce(tenant, moved)
        return moved

    async def _at(self, tenant: str, kind: Kind, name: str, label: str) -> Entry | None:
        """Where a label is now; None when it does not exist."""
        try:
            return await self._store.get(tenant, EntryReference(kind=kind, name=name, selector=ByLabel(label=label)))
        except (UnknownEntry, UnknownPrompt):
            return None


def _towards(entry: Entry, label: str, by: str) -> Move:
    return Move(
        kind=entry.kind, name=entry.name, label=label, from_version=NOWHERE, to_version=entry.version, grounds=Grounds.OPEN, moved_by=by
    )


def _by_version(kind: Kind, name: str, version: int) -> EntryReference:
    return EntryReference(kind=kind, name=name, selector=ByVersion(version=version))

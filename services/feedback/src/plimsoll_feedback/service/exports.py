"""Exports of the training part; the held-out one is not within reach."""

from plimsoll_runtime.errors import NotFound

from plimsoll_feedback.domain.learning import deeds
from plimsoll_feedback.domain.learning.datasets import DatasetName, Example
from plimsoll_feedback.domain.learning.exporting import Export, ExportFormat, exported
from plimsoll_feedback.domain.learning.proposing import PromptVersion
from plimsoll_feedback.errors import InvalidDataset
from plimsoll_feedback.ports.learning import AuditLog, ModelRouter
from plimsoll_feedback.service.datasets import Datasets

_PAGE = 500
_CAP = 100_000


class Exports:
    def __init__(self, datasets: Datasets, router: ModelRouter, audit: AuditLog) -> None:
        self._datasets = datasets
        self._router = router
        self._audit = audit

    async def export(self, tenant: str, name: DatasetName, version: int, form: ExportFormat, by: str) -> Export:
        """Told in the audit log before anything leaves. Raises DatasetNotFound.

        What was deleted, or kept for long enough, is in no export from then on, of whatever version.
        """
        found: list[Example] = []
        while True:
            version, page = await self._datasets.examples(tenant, name, version, found[-1].id if found else "", _PAGE)
            found += page
            if len(page) < _PAGE:
                break
            if len(found) >= _CAP:
                raise InvalidDataset(f"dataset {name} has over {_CAP} examples", remedy="split it by rules before it is exported")
        prompts: dict[str, PromptVersion] = {}
        for one in found:
            digest = one.body.prompt_digest
            if digest and digest not in prompts:
                try:
                    prompts[digest] = await self._router.prompt(tenant, one.body.prompt, digest)
                except NotFound:
                    continue
        export = exported(name, version, form, found, prompts)
        await self._audit.tell(deeds.dataset_exported(tenant, name, export, by))
        return export

"""The price table: versioned data, and how a model's price is found in it."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from plimsoll_runtime.errors import FieldProblem, Invalid
from plimsoll_runtime.json_types import JsonObject, JsonValue

from plimsoll_model_router.domain.pricing import LongPrice, Price

_DATED = r"(-\d{8}|-\d{4}-\d{2}-\d{2}|-latest|@\d{8})?"  # how providers name a snapshot of a model


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedPrice:
    """One row: what `model` of `vendor` costs from the day `since` on."""

    vendor: str
    model: str
    since: date
    price: Price


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceTable:
    """`version` is told with every price that comes from here."""

    version: str
    rows: Sequence[ListedPrice]

    def price(self, vendor: str, model: str, today: date) -> Price | None:
        """The newest price that holds today; None for a model that the table does not know. Snapshots cost what their model costs."""
        known = [
            row for row in self.rows if row.vendor == vendor and row.since <= today and re.fullmatch(re.escape(row.model) + _DATED, model)
        ]
        return max(known, key=lambda row: (row.since, row.model == model)).price if known else None


def read_prices(value: JsonObject, name: str) -> PriceTable:
    """The table in a JSON file. Raises Invalid with everything that is wrong with it."""
    version, rows, problems = value.get("version"), value.get("prices"), list[FieldProblem]()
    if not isinstance(version, str) or not version:
        problems.append(FieldProblem("version", "is missing", "name the table's version, such as its date"))
    if not isinstance(rows, list):
        problems.append(FieldProblem("prices", "is not a list", "list one object for each model"))
        rows = []
    found = [row for at, one in enumerate(rows) if (row := _row(one, f"prices[{at}]", problems)) is not None]
    if problems:
        raise Invalid(f"{name} is not a price table", reason="INVALID_PRICES", problems=problems)
    return PriceTable(version=str(version), rows=found)


def _row(value: JsonValue, field: str, problems: list[FieldProblem]) -> ListedPrice | None:
    if not isinstance(value, dict):
        problems.append(FieldProblem(field, "is not an object"))
        return None
    before = len(problems)
    vendor, model, since = (value.get(name) for name in ("vendor", "model", "since"))
    problems += [FieldProblem(f"{field}.{name}", "is missing") for name in ("vendor", "model") if not isinstance(value.get(name), str)]
    amounts = dict(_amounts(value, field, problems))
    long = value.get("long")
    tier = dict(_amounts(long, f"{field}.long", problems)) if isinstance(long, dict) else {}
    above = long.get("above") if isinstance(long, dict) else None
    if isinstance(long, dict) and (not isinstance(above, int) or above < 1):
        problems.append(FieldProblem(f"{field}.long.above", "is not a number of tokens"))
    try:
        from_day = date.fromisoformat(str(since))
    except ValueError:
        problems.append(FieldProblem(f"{field}.since", f"is {since!r}", "use a day such as 2026-01-31"))
    if len(problems) > before:
        return None
    dearer = LongPrice(above=int(str(above)), **tier) if tier else None
    return ListedPrice(vendor=str(vendor), model=str(model), since=from_day, price=Price(**amounts, long=dearer))


def _amounts(value: Mapping[str, JsonValue], field: str, problems: list[FieldProblem]) -> Iterator[tuple[str, int]]:
    for name in ("input_micros", "cached_input_micros", "output_micros"):
        amount = value.get(name)
        if isinstance(amount, int) and not isinstance(amount, bool) and amount >= 0:
            yield name, amount
        else:
            problems.append(FieldProblem(f"{field}.{name}", f"is {amount!r}", "use micros of a US dollar per million tokens"))

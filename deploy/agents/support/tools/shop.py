"""Owns the shop's side of the support agent: accounts, orders, the refund policy and the refunds themselves."""

import hashlib
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import asyncpg
from plimsoll_runtime.json_types import JsonValue
from plimsoll_tool_dispatcher.handler import SetupContext, ToolContext, ToolRejected, ToolUnavailable

CONNECT_S = 3.0
SETUP_LOCK = 5_303_201  # any number nobody else uses: two workers must not create the schema at once
LABEL_CENTS = 795
EXPRESS_BUSINESS_DAYS = 2
QUIET_BUSINESS_DAYS = 7
LOST_BUSINESS_DAYS = 10
DAMAGE_DAYS = 14
NO_ANSWER = (OSError, TimeoutError, asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError, asyncpg.TooManyConnectionsError)
SERVICES = {"standard": "Standard", "express": "Express", "alaska_hawaii": "Alaska and Hawaii", "canada": "Canada"}
# Words of product names that many products share, so that they tell nothing about which one is meant.
COMMON_WORDS = frozenset({"bag", "camp", "clearance", "kit", "pack", "pairs", "set", "trail"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of an order; `sale` says which return rule holds for it."""

    name: str
    quantity: int
    unit_cents: int
    sale: str

    @property
    def cents(self) -> int:
        """The price of the whole line."""
        return self.quantity * self.unit_cents


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An order with its lines as an answer or a refund needs it, and the day on which it was read."""

    order_id: str
    status: str
    service: str
    placed_on: date
    shipped_on: date | None
    delivered_on: date | None
    tracking: str | None
    last_scan_on: date | None
    last_scan_place: str | None
    shipping_cents: int
    refunded_cents: int
    member: bool
    today: date
    lines: tuple[Line, ...]

    @property
    def total_cents(self) -> int:
        """What the customer paid, shipping included."""
        return sum(line.cents for line in self.lines) + self.shipping_cents

    @property
    def items(self) -> str:
        """The lines in words."""
        return " and ".join(line.name if line.quantity == 1 else f"{line.quantity} × {line.name}" for line in self.lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """What the policy says about one refund; an amount of 0 is a no."""

    amount_cents: int
    rule: str
    explanation: str


def dollars(cents: int) -> str:
    """Money as the articles of the knowledge base write it."""
    return f"${cents // 100:,}" if cents % 100 == 0 else f"${cents // 100:,}.{cents % 100:02d}"


def business_days(start: date, end: date) -> int:
    """Weekdays after `start` up to and including `end`."""
    return sum((start + timedelta(days=n)).weekday() < 5 for n in range(1, (end - start).days + 1))


def describe_order(order: Order) -> str:
    """The state of an order in a sentence or two."""
    endings = {
        "placed": " and is not packed yet, so it can still be cancelled",
        "packed": " and is packed: it leaves with the next pickup and can no longer be cancelled",
        "shipped": f" and left our warehouse on {order.shipped_on} by {SERVICES[order.service]} shipping",
        "delivered": f" and was delivered on {order.delivered_on}",
        "returned": f", was delivered on {order.delivered_on} and has come back to our warehouse as a return",
        "cancelled": " and was cancelled; nothing was charged",
    }
    opening = f"Order {order.order_id} ({order.items}, {dollars(order.total_cents)} in total) was placed on {order.placed_on}"
    refunded = f" Refunded so far: {dollars(order.refunded_cents)}." if order.refunded_cents else ""
    return f"{opening}{endings[order.status]}.{refunded}"


def parcel_state(order: Order) -> str:
    """Where a parcel stands by the rules of the article on lost parcels."""
    if order.status != "shipped" or order.last_scan_on is None:
        return {"placed": "not_shipped", "packed": "not_shipped"}.get(order.status, order.status)
    silent = business_days(order.last_scan_on, order.today)
    if silent >= LOST_BUSINESS_DAYS:
        return "lost"
    return "quiet" if silent >= QUIET_BUSINESS_DAYS else "moving"


def describe_parcel(order: Order) -> str:
    """Where the parcel of an order is, in words."""
    state = parcel_state(order)
    if state == "not_shipped":
        return f"The parcel of order {order.order_id} has not left our warehouse yet."
    if state not in {"moving", "quiet", "lost"} or order.last_scan_on is None:
        return (
            f"The parcel of order {order.order_id} was delivered on {order.delivered_on}." if order.delivered_on else describe_order(order)
        )
    left = f"The parcel of order {order.order_id} ({order.items}), tracking number {order.tracking}, left on {order.shipped_on}"
    scan = f"{left} and was last scanned on {order.last_scan_on} in {order.last_scan_place}."
    silent = business_days(order.last_scan_on, order.today)
    match state:
        case "lost":
            return f"{scan} It had no scan for {silent} business days and counts as lost: choose a replacement or a full refund."
        case "quiet":
            return f"{scan} It had no scan for {silent} business days, so we can open a trace with Northline Parcel."
    return f"{scan} It is on its way."


def lines_meant(lines: tuple[Line, ...], message: str) -> tuple[Line, ...]:
    """The lines whose name the message mentions; all of them when it mentions none."""
    words = set(re.findall(r"[a-z]{3,}", message.lower()))
    named = tuple(line for line in lines if words & (set(re.findall(r"[a-z]{3,}", line.name.lower())) - COMMON_WORDS))
    return named or lines


def assess(order: Order, *, reason: str, message: str) -> Assessment:
    """Applies the refund policy of the knowledge base, then takes off what was refunded before."""
    verdict = _by_reason(order, reason, lines_meant(order.lines, message))
    left = order.total_cents - order.refunded_cents
    if verdict.amount_cents and left <= 0:
        return _no("already_refunded", f"Order {order.order_id} was already refunded in full.")
    if verdict.amount_cents > left:
        return _due(left, verdict.rule, f"{verdict.explanation} {dollars(left)} of it is still open.")
    return verdict


def _by_reason(order: Order, reason: str, lines: tuple[Line, ...]) -> Assessment:
    match reason:
        case "changed_mind":
            return _changed_mind(order, lines)
        case "faulty_or_damaged" | "wrong_item":
            return _our_fault(order, lines)
        case "lost":
            return _lost(order)
    return _late_express(order)


def _no(rule: str, explanation: str) -> Assessment:
    return Assessment(amount_cents=0, rule=rule, explanation=explanation)


def _due(cents: int, rule: str, explanation: str) -> Assessment:
    return Assessment(amount_cents=cents, rule=rule, explanation=explanation)


def _changed_mind(order: Order, lines: tuple[Line, ...]) -> Assessment:
    label = 0 if order.member else LABEL_CENTS
    cents = max(0, sum(line.cents for line in lines if line.sale == "regular") - label)
    if order.delivered_on is None:
        return _no("not_delivered", f"There is nothing to return yet. {describe_order(order)}")
    if not cents:
        return _no("not_returnable", f"The items meant of order {order.order_id} cannot be returned, or are worth less than the label.")
    amount = f"{dollars(cents)} ({f'after {dollars(label)} for the return label' if label else 'the label is free for members'})"
    if order.status == "returned":
        return _due(cents, "return_arrived", f"The return of order {order.order_id} arrived; {amount} is due.")
    window = 60 if order.member else 30
    last_day = order.delivered_on + timedelta(days=window)
    if order.today > last_day:
        return _no("period_over", f"The return period of order {order.order_id} ended on {last_day}, {window} days after delivery.")
    start = f"Order {order.order_id} can be returned until {last_day}: start the return under My orders."
    return _no("return_first", f"{start} A refund of {amount} follows when it arrives.")


def _our_fault(order: Order, lines: tuple[Line, ...]) -> Assessment:
    if order.delivered_on is None:
        return _no("not_delivered", f"The parcel is not marked as delivered. {describe_order(order)}")
    age = (order.today - order.delivered_on).days
    if age > DAMAGE_DAYS:
        late = f"Order {order.order_id} was delivered {age} days ago, and damage has to be reported within {DAMAGE_DAYS} days."
        return _no("warranty_instead", f"{late} A fault that shows later is a warranty case.")
    cents = sum(line.cents for line in lines) + order.shipping_cents
    due = f"{dollars(cents)} is due for {' and '.join(line.name for line in lines)} of order {order.order_id}, shipping included."
    after = "Nothing has to be sent back." if all(line.unit_cents < 4000 for line in lines) else "We send a free label for the item."
    return _due(cents, "our_fault", f"{due} {after}")


def _lost(order: Order) -> Assessment:
    if parcel_state(order) != "lost":
        return _no("not_lost", f"By our rules this parcel is not lost. {describe_parcel(order)}")
    return _due(order.total_cents, "lost_parcel", f"{describe_parcel(order)} {dollars(order.total_cents)} is due.")


def _late_express(order: Order) -> Assessment:
    if order.service != "express" or order.shipped_on is None or order.delivered_on is None:
        return _no("not_express", f"Order {order.order_id} has no delivered Express parcel. {describe_order(order)}")
    days = business_days(order.shipped_on, order.delivered_on)
    took = f"The Express parcel of order {order.order_id} took {days} business days"
    if days <= EXPRESS_BUSINESS_DAYS:
        return _no("express_in_time", f"{took}, which is in time.")
    return _due(order.shipping_cents, "late_express", f"{took}; the fee of {dollars(order.shipping_cents)} is due.")


def _fact(source: str, text: str) -> JsonValue:
    return {"source": source, "text": text}


def _script(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


async def _connect(credentials: Mapping[str, str], timeout_s: float) -> asyncpg.Connection:
    try:
        return await asyncpg.connect(credentials["examples_database"], timeout=CONNECT_S, command_timeout=timeout_s)
    except NO_ANSWER as error:
        raise ToolUnavailable("SHOP_UNREACHABLE", "The shop's database does not answer.", retry_after_s=1.0) from error


async def setup(context: SetupContext) -> None:
    """Creates the shop's tables when they are missing."""
    connection = await _connect(context.credentials, 20.0)
    try:
        async with connection.transaction():
            await connection.execute("select pg_advisory_xact_lock($1)", SETUP_LOCK)
            await connection.execute(_script("shop.sql"))
    finally:
        await connection.close()


@asynccontextmanager
async def _shop(context: ToolContext) -> AsyncIterator[asyncpg.Connection]:
    """A transaction on the shop's tables; the tenant's first call finds the seeded customers there."""
    connection = await _connect(context.credentials, context.deadline_s)
    try:
        async with connection.transaction():
            await _seed_once(connection, context.tenant)
            yield connection
    finally:
        await connection.close()


async def _seed_once(connection: asyncpg.Connection, tenant: str) -> None:
    if await connection.fetchval("select 1 from tarnbrook.tenants where tenant = $1", tenant):
        return
    if await connection.fetchval("insert into tarnbrook.tenants (tenant) values ($1) on conflict do nothing returning tenant", tenant):
        await connection.execute("select set_config('tarnbrook.tenant', $1, true)", tenant)
        await connection.execute(_script("shop_seed.sql"))


ORDER_SQL = """
select o.*, current_date as today, coalesce(c.member_until >= current_date, false) as member, coalesce(r.cents, 0)::int as refunded_cents
from tarnbrook.orders o join tarnbrook.customers c using (tenant, customer_id)
left join lateral (select sum(amount_cents) as cents from tarnbrook.refunds where tenant = o.tenant and order_id = o.order_id) r on true
where o.tenant = $1 and o.customer_id = $2 and ($3::text is null or o.order_id = $3)
order by o.placed_on desc, o.order_id desc limit 5"""
LINES_SQL = "select * from tarnbrook.order_lines where tenant = $1 and order_id = any($2) order by line"


async def _orders(connection: asyncpg.Connection, tenant: str, customer_id: str, order_id: str | None) -> list[Order]:
    rows = await connection.fetch(ORDER_SQL, tenant, customer_id, order_id)
    lines: dict[str, list[Line]] = {}
    for row in await connection.fetch(LINES_SQL, tenant, [row["order_id"] for row in rows]):
        line = Line(name=row["name"], quantity=row["quantity"], unit_cents=row["unit_cents"], sale=row["sale"])
        lines.setdefault(row["order_id"], []).append(line)
    names = Order.__dataclass_fields__.keys() - {"lines"}
    return [Order(**{name: row[name] for name in names}, lines=tuple(lines[row["order_id"]])) for row in rows]


async def _order(connection: asyncpg.Connection, tenant: str, arguments: Mapping[str, JsonValue]) -> Order:
    found = await _orders(connection, tenant, str(arguments["customer_id"]), str(arguments["order_id"]))
    if not found:
        raise ToolRejected("ORDER_UNKNOWN", "This customer has no order of this number. Check the number.")
    return found[0]


ACCOUNT_SQL = """
select customer_id, name, member_until, coalesce(member_until >= current_date, false) as member from tarnbrook.customers c
where tenant = $1 and ($2::text is null or customer_id = $2) and ($3::text is null or lower(email) = lower($3)) and ($4::text is null
or exists (select 1 from tarnbrook.orders o where o.tenant = $1 and o.customer_id = c.customer_id and o.order_id = $4))"""


async def find_account(arguments: dict[str, JsonValue], context: ToolContext) -> JsonValue:
    """The one account that has all the identifiers given."""
    given = [name for name, value in arguments.items() if value is not None]
    if not given or given == ["customer_id"]:
        raise ToolRejected("IDENTIFIER_MISSING", "A customer number alone proves nothing. Give an order number or the e-mail address.")
    async with _shop(context) as connection:
        row = await connection.fetchrow(ACCOUNT_SQL, context.tenant, *(arguments[name] for name in ("customer_id", "email", "order_id")))
        if row is None:
            raise ToolRejected("ACCOUNT_UNKNOWN", f"No account has this {' and this '.join(given)}. Check each of them.")
        orders = await _orders(connection, context.tenant, row["customer_id"], None)
    club = f"is a Trail Club member until {row['member_until']}" if row["member"] else "is not a Trail Club member"
    text = f"Customer {row['customer_id']} {club} and has {len(orders) or 'no'} recent orders."
    return {
        "customer_id": row["customer_id"],
        "name": row["name"],
        "member": row["member"],
        "recent_orders": [order.order_id for order in orders],
        "facts": [_fact(f"account {row['customer_id']}", text)],
    }


async def list_orders(arguments: dict[str, JsonValue], context: ToolContext) -> JsonValue:
    """The newest orders of a customer."""
    async with _shop(context) as connection:
        orders = await _orders(connection, context.tenant, str(arguments["customer_id"]), None)
    return {
        "orders": [
            {"order_id": order.order_id, "status": order.status, "placed_on": order.placed_on.isoformat(), "total_cents": order.total_cents}
            for order in orders
        ],
        "facts": [_fact("list of orders", " ".join(map(describe_order, orders)) or "There is no order on this account.")],
    }


async def get_order(arguments: dict[str, JsonValue], context: ToolContext) -> JsonValue:
    """One order of this customer."""
    async with _shop(context) as connection:
        order = await _order(connection, context.tenant, arguments)
    return {
        "order_id": order.order_id,
        "status": order.status,
        "items": [{"name": line.name, "quantity": line.quantity, "unit_cents": line.unit_cents} for line in order.lines],
        "total_cents": order.total_cents,
        "refunded_cents": order.refunded_cents,
        "facts": [_fact(f"order {order.order_id}", describe_order(order))],
    }


async def track_parcel(arguments: dict[str, JsonValue], context: ToolContext) -> JsonValue:
    """Where the parcel of one order of this customer is."""
    async with _shop(context) as connection:
        order = await _order(connection, context.tenant, arguments)
    facts = [_fact(f"parcel of {order.order_id}", describe_parcel(order))]
    return {"order_id": order.order_id, "state": parcel_state(order), "tracking": order.tracking, "facts": facts}


async def assess_refund(arguments: dict[str, JsonValue], context: ToolContext) -> JsonValue:
    """What the refund policy says about this order and this reason."""
    async with _shop(context) as connection:
        order = await _order(connection, context.tenant, arguments)
    verdict = assess(order, reason=str(arguments["reason"]), message=str(arguments["message"]))
    return {
        "eligible": verdict.amount_cents > 0,
        "amount_cents": verdict.amount_cents,
        "rule": verdict.rule,
        "facts": [_fact(f"refund policy for {order.order_id}", verdict.explanation)],
    }


LOCK_SQL = "select 1 from tarnbrook.orders where tenant = $1 and order_id = $2 for update"
REPEAT_SQL = "select 1 from tarnbrook.refunds where tenant = $1 and call_key = $2"
REFUND_SQL = """
insert into tarnbrook.refunds (tenant, refund_id, call_key, order_id, amount_cents, reason) values ($1, $2, $3, $4, $5, $6)"""


async def issue_refund(arguments: dict[str, JsonValue], context: ToolContext) -> JsonValue:
    """A refund within the limit that the schema sets."""
    return await _refund(arguments, context)


async def issue_large_refund(arguments: dict[str, JsonValue], context: ToolContext) -> JsonValue:
    """A refund over the limit; it runs only with a person's approval of this very call."""
    return await _refund(arguments, context)


async def _refund(arguments: Mapping[str, JsonValue], context: ToolContext) -> JsonValue:
    """Writes the refund once per call key, and never more than the order still has."""
    cents = arguments["amount_cents"]
    assert isinstance(cents, int)
    refund_id = "RFD-" + hashlib.sha256(f"{context.tenant}:{context.call_key}".encode()).hexdigest()[:10].upper()
    async with _shop(context) as connection:
        # The lock makes two refunds of one order wait for each other, so that what is left is counted right.
        await connection.execute(LOCK_SQL, context.tenant, arguments["order_id"])
        order = await _order(connection, context.tenant, arguments)
        if not await connection.fetchval(REPEAT_SQL, context.tenant, context.call_key):
            left = order.total_cents - order.refunded_cents
            if cents > left:
                raise ToolRejected("AMOUNT_TOO_HIGH", f"Only {dollars(left)} of this order can still be refunded.")
            await connection.execute(REFUND_SQL, context.tenant, refund_id, context.call_key, order.order_id, cents, arguments["reason"])
    issued = f"Refund {refund_id} of {dollars(cents)} for order {order.order_id} was issued to the original means of payment."
    fact = _fact(f"refund {refund_id}", f"{issued} The bank shows it in 3 to 5 business days.")
    return {"refund_id": refund_id, "amount_cents": cents, "facts": [fact]}

"""REST and the contract, both ways: an HTTP request becomes a method's request message, a message becomes JSON."""

from dataclasses import dataclass
from urllib.parse import parse_qsl

from google.protobuf import message_factory
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message
from plimsoll_runtime.errors import FieldProblem, Invalid

from plimsoll_gateway.transport.fields import shapes
from plimsoll_gateway.transport.json_reader import JsonReader
from plimsoll_gateway.transport.json_writer import JsonWriter
from plimsoll_gateway.transport.routes import Match, RouteTable

_PARAMETERS = 100
IDEMPOTENCY_FIELD = "idempotency_key"


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """What of an HTTP request the contract speaks about.

    query            as in the address, percent-encoded, without the question mark
    body             empty when there was none
    idempotency_key  from the header; empty when there was none
    """

    query: str = ""
    body: bytes = b""
    idempotency_key: str = ""


class Transcoder:
    """One service over REST, by its annotations alone."""

    def __init__(self, service: ServiceDescriptor) -> None:
        """Raises ContractError for a contract that cannot be shown over REST."""
        self.table = RouteTable(service)
        self.shapes = shapes(one for route in self.table.routes for one in (route.request, route.response))
        self._reader = JsonReader(self.shapes)
        self._writer = JsonWriter(self.shapes)

    def request(self, match: Match, received: Received) -> Message:
        """The request message. Raises Invalid with every problem at once, each with its path."""
        route = match.route
        reading = self._reader.reading(message_factory.GetMessageClass(route.request)())
        reading.path(match.variables)
        pairs = _query(received.query)
        if route.body == "*":
            reading.no_query(pairs)
        else:
            reading.query(pairs)
        if not route.body:
            reading.no_body(received.body)
        elif received.body:
            reading.body(received.body, route.body)
        if received.idempotency_key and IDEMPOTENCY_FIELD in route.request.fields_by_name:
            reading.set(IDEMPOTENCY_FIELD, received.idempotency_key, "Idempotency-Key")
        return reading.done()

    def answer(self, message: Message) -> bytes:
        """The message as JSON text."""
        return self._writer.write(message)


def _query(text: str) -> list[tuple[str, str]]:
    try:
        text.encode("ascii")
        return parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=_PARAMETERS)
    except UnicodeError:
        problem = FieldProblem("query", "is not UTF-8", "percent-encode the bytes of UTF-8")
    except ValueError:
        problem = FieldProblem("query", f"has more than {_PARAMETERS} parameters", "send fewer")
    raise Invalid(problems=(problem,), reason="INVALID_REQUEST")

"""The README's tables are those of the contract and of the settings."""

import re
from pathlib import Path

from plimsoll.gateway.v1 import gateway_service_pb2
from plimsoll_gateway.domain.scopes import NEEDED
from plimsoll_gateway.transport.routes import RouteTable

README = (Path(__file__).parents[2] / "README.md").read_text()


def test_the_table_of_methods_is_the_contracts():
    table = RouteTable(gateway_service_pb2.DESCRIPTOR.services_by_name["GatewayService"])
    rows = re.findall(r"^\| `(\w+)` \| `(\w+) (\S+)` \| `?([\w:]+)`? \|$", README, re.MULTILINE)
    assert rows == [(route.method, route.http, route.path, str(NEEDED.get(route.method, "any"))) for route in table.routes]

"""The page for people shows every method, needs no script and fetches nothing."""

import re

from plimsoll.gateway.v1 import gateway_service_pb2
from plimsoll_gateway.transport.pages import DOCS_PATH, OPENAPI_PATH, pages
from plimsoll_gateway.transport.transcoder import Transcoder

TRANSCODER = Transcoder(gateway_service_pb2.DESCRIPTOR.services_by_name["GatewayService"])
PAGES = pages(TRANSCODER, "1.2.3")
TEXT = PAGES[DOCS_PATH].body.decode()


def test_every_route_is_on_the_page():
    assert set(re.findall(r'<h3 id="(\w+)">', TEXT)) == {route.method for route in TRANSCODER.table.routes}
    for route in TRANSCODER.table.routes:
        assert f"<code>{route.path}</code>" in TEXT


def test_the_page_runs_nothing_and_fetches_nothing():
    assert not re.search(r"<script|<link|<img|url\(|@import", TEXT)
    assert "default-src 'none'" in PAGES[DOCS_PATH].headers["Content-Security-Policy"]
    assert not re.findall(r'(?:href|src)="(?!#|/openapi\.json)', TEXT)


def test_the_document_for_programs_is_beside_it():
    assert PAGES[OPENAPI_PATH].media_type == "application/json"

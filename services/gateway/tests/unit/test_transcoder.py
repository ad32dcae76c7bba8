"""REST and the contract are one: what goes in comes out, and garbage is refused by name."""

import contextlib
import json

import orjson
import pytest
from gateway_messages import json_texts, messages, texts
from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor
from hypothesis import given, settings
from hypothesis import strategies as st
from plimsoll.gateway.v1 import feedback_pb2, gateway_service_pb2, runs_pb2
from plimsoll.memory.v1 import document_pb2
from plimsoll.orchestrator.v1 import run_events_pb2, run_pb2
from plimsoll_gateway.transport.json_reader import JsonReader
from plimsoll_gateway.transport.json_writer import JsonWriter
from plimsoll_gateway.transport.routes import Route
from plimsoll_gateway.transport.transcoder import Received, Transcoder
from plimsoll_runtime.errors import Invalid, NotFound

SERVICE = gateway_service_pb2.DESCRIPTOR.services_by_name["GatewayService"]
TRANSCODER = Transcoder(SERVICE)
READER = JsonReader(TRANSCODER.shapes)
WRITER = JsonWriter(TRANSCODER.shapes)
TYPES = sorted({*(m.input_type for m in SERVICE.methods), *(m.output_type for m in SERVICE.methods)}, key=lambda d: d.full_name)


def transcode(http: str, path: str, query: str = "", body: bytes = b"", key: str = ""):
    return TRANSCODER.request(TRANSCODER.table.match(http, path), Received(query=query, body=body, idempotency_key=key))


def problems(http: str, path: str, query: str = "", body: bytes = b"", key: str = "") -> dict[str, str]:
    with pytest.raises(Invalid) as caught:
        transcode(http, path, query, body, key)
    return {problem.field: f"{problem.problem} | {problem.remedy}" for problem in caught.value.problems}


@pytest.mark.parametrize("descriptor", TYPES, ids=lambda d: d.name)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_every_message_survives_json_and_back(descriptor: Descriptor, data: st.DataObject):
    message = data.draw(messages(descriptor))
    text = WRITER.write(message)
    reading = READER.reading(message_factory.GetMessageClass(descriptor)())
    reading.body(text, "*")
    assert reading.done() == message
    assert WRITER.write(reading.done()) == text


@settings(max_examples=200, deadline=None)
@given(text=json_texts)
def test_a_callers_json_keeps_every_character(text: str):
    request = transcode("POST", "/v1/agents/a/runs", body=b'{"input": ' + text.encode() + b"}")
    assert request == runs_pb2.SubmitRunRequest(agent="a", input={"text": text})
    assert text.encode() in TRANSCODER.answer(request)


def test_digits_beyond_a_double_are_kept():
    body = b'{"input":{"id":123456789012345678901234567890,"rate":0.10000000000000000000001}}'
    assert (
        transcode("POST", "/v1/agents/a/runs", body=body).input.text
        == '{"id":123456789012345678901234567890,"rate":0.10000000000000000000001}'
    )


@settings(max_examples=300, deadline=None)
@given(body=st.binary(max_size=60) | json_texts.map(str.encode), route=st.sampled_from(TRANSCODER.table.routes))
def test_a_garbage_body_is_refused_as_invalid_and_never_breaks_anything(body: bytes, route: Route):
    path = route.path.replace("{", "").replace("}", "")
    with contextlib.suppress(Invalid):
        transcode(route.http, path, body=body)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_valid_body_with_something_changed_is_read_or_refused_as_invalid(data: st.DataObject):
    route = data.draw(st.sampled_from([route for route in TRANSCODER.table.routes if route.body == "*"]))
    document = json.loads(WRITER.write(data.draw(messages(route.request))))
    for name in route.variables:
        document.pop(TRANSCODER.shapes[route.request.full_name].by_key[name].key)
    key = data.draw(st.sampled_from(sorted(document)) if document else texts)
    document[key] = data.draw(st.none() | st.booleans() | st.integers() | st.floats() | texts | st.lists(texts, max_size=2))
    with contextlib.suppress(Invalid):
        transcode(route.http, route.path.replace("{", "").replace("}", ""), body=json.dumps(document).encode())


@settings(max_examples=300, deadline=None)
@given(path=st.text(max_size=40), query=st.text(max_size=60), http=st.sampled_from(["GET", "POST", "DELETE", "BREW"]))
def test_a_garbage_path_or_query_is_refused_and_never_breaks_anything(path: str, query: str, http: str):
    for candidate in (path, "/v1/" + path, "/v1/runs/" + path):
        with contextlib.suppress(Invalid, NotFound):
            transcode(http, candidate, query=query)


def test_names_are_read_in_camel_and_snake_case_and_written_in_camel_case():
    for body in (b'{"source":"x","sourceName":"a.yaml"}', b'{"source":"x","source_name":"a.yaml"}'):
        request = transcode("POST", "/v1/agents", body=body)
        assert request.source_name == "a.yaml"
    assert orjson.loads(TRANSCODER.answer(request)) == {"source": "x", "sourceName": "a.yaml"}


def test_query_parameters_fill_numbers_enums_times_and_booleans():
    runs = transcode("GET", "/v1/runs", "agent=support&status=RUN_STATUS_QUEUED&page_size=5&pageToken=a%2Bb")
    assert runs == runs_pb2.ListRunsRequest(agent="support", status=run_pb2.RUN_STATUS_QUEUED, page_size=5, page_token="a+b")
    counts = transcode("GET", "/v1/failures:count", "afterTime=2026-01-31T12:00:00.5%2B01:00")
    assert counts.after_time.ToJsonString() == "2026-01-31T11:00:00.500Z"
    assert transcode("GET", "/v1/operations", "failedOnly=true").failed_only is True


def test_a_path_fills_its_fields_decoded_and_the_body_need_not_repeat_them():
    request = transcode("POST", "/v1/collections/a%2Fb%20%C3%A4:search", body=b'{"query":"x"}')
    assert request.collection == "a/b ä"
    assert transcode("POST", "/v1/runs/run_1:cancel", body=b'{"runId":"run_1","reason":"x"}').run_id == "run_1"
    assert problems("POST", "/v1/runs/run_1:cancel", body=b'{"runId":"run_2"}') == {
        "runId": "differs from the path, which says 'run_1' | leave it out of the body"
    }


def test_a_body_may_be_one_field_and_the_rest_come_from_path_query_and_header():
    request = transcode("POST", "/v1/runs/run_1/signals", "idempotency_key=k1", b'{"score":0.5,"comment":"fine"}')
    assert request == feedback_pb2.RecordSignalRequest(run_id="run_1", idempotency_key="k1", signal={"score": 0.5, "comment": "fine"})
    assert transcode("POST", "/v1/runs/run_1/signals", body=b'{"remark":true}', key="k2").idempotency_key == "k2"


def test_an_idempotency_key_given_twice_must_be_the_same():
    assert transcode("POST", "/v1/agents/a/runs", body=b'{"idempotencyKey":"k"}', key="k").idempotency_key == "k"
    found = problems("POST", "/v1/agents/a/runs", body=b'{"idempotencyKey":"k"}', key="other")
    assert found == {"idempotencyKey": "differs from Idempotency-Key | give one of them"}


def test_an_idempotency_key_is_ignored_where_a_repeat_does_no_harm_anyway():
    assert transcode("GET", "/v1/runs/run_1", key="k") == runs_pb2.GetRunRequest(run_id="run_1")


def test_every_problem_comes_at_once_with_its_path_and_the_nearest_name():
    found = problems(
        "POST",
        "/v1/prompts",
        body=b'{"promt":{},"prompt":{"examples":[{"user":1},{"assistent":2},3],"version":"x","labels":"a"},"labels":["a",null]}',
    )
    assert found == {
        "promt": "is not a field of RegisterPromptRequest | did you mean prompt?",
        "prompt.examples[0].user": "must be text, not a number | ",
        "prompt.examples[1].assistent": "is not a field of PromptExample | did you mean assistant?",
        "prompt.examples[2]": "must be an object, not a number | ",
        "prompt.version": "must be a whole number, not the text 'x' | ",
        "prompt.labels": "must be a list, not the text 'a' | ",
        "labels[1]": "must be text, not null | ",
    }


@pytest.mark.parametrize(
    ("http", "path", "query", "body", "field", "says"),
    [
        ("GET", "/v1/runs", "pagesize=5", b"", "pagesize", "did you mean pageSize?"),
        ("GET", "/v1/runs", "status=QUEUED", b"", "status", "did you mean RUN_STATUS_QUEUED?"),
        ("GET", "/v1/runs", "pageSize=99999999999", b"", "pageSize", "must lie between -2147483648 and 2147483647"),
        ("GET", "/v1/runs", "agent=a&agent=b", b"", "agent", "is given twice"),
        ("GET", "/v1/runs", "agent.x=a", b"", "agent.x", "is not a parameter"),
        ("GET", "/v1/runs", "agent=%FF", b"", "query", "is not UTF-8"),
        ("GET", "/v1/runs", "&".join(f"a{i}=1" for i in range(200)), b"", "query", "has more than 100 parameters"),
        ("GET", "/v1/runs/r", "runId=x", b"", "runId", "is a part of the path already"),
        ("GET", "/v1/runs", "", b"{}", "body", "is not taken here"),
        ("GET", "/v1/operations", "failedOnly=yes", b"", "failedOnly", "must be true or false"),
        ("GET", "/v1/failures:count", "afterTime=yesterday", b"", "afterTime", "must be a time such as"),
        ("GET", "/v1/failures:count", "afterTime=2026-02-30T00:00:00Z", b"", "afterTime", "is no time that exists"),
        ("POST", "/v1/agents/a/runs", "input=1", b"", "input", "send it in the body"),
        ("POST", "/v1/agents/a/runs", "", b"[]", "body", "must be an object, not a list"),
        ("POST", "/v1/agents/a/runs", "", b"{", "body", "is not JSON"),
        ("POST", "/v1/agents/a/runs", "", b'{"input":NaN}', "body", "is not JSON"),
        ("POST", "/v1/agents/a/runs", "", b'{"input":"\xff"}', "body", "is not JSON"),
        ("POST", "/v1/agents/a/runs", "", b'{"input":"\\ud800"}', "body", "is not JSON"),
        ("POST", "/v1/agents/a/runs", "", b'{"input":' + b"[" * 101 + b"]" * 101 + b"}", "body", "is nested deeper than 100 levels"),
        ("POST", "/v1/agents/a/runs", "", b'{"input":' + b"[" * 50_000 + b"]" * 50_000 + b"}", "body", "is not JSON"),
        ("POST", "/v1/agents/a/runs", "", b'{"input":"a\\u0000b"}', "body", "holds the character U+0000"),
        ("POST", "/v1/agents/a/runs", "", b'{"idempotencyKey":"a","idempotency_key":"a"}', "idempotency_key", "also as idempotencyKey"),
        ("POST", "/v1/prompts", "", b'{"labels":[' + b'"",' * 10_000 + b'""]}', "labels", "holds more than 10000 items"),
        ("POST", "/v1/runs/r/signals", "", b'{"score":1,"verdict":"VERDICT_GOOD"}', "signal.verdict", "excludes score"),
        ("POST", "/v1/collections/c/documents", "", b'{"content":"a b"}', "content", "must be bytes in base64"),
        ("POST", "/v1/collections/c/documents", "", b'{"content":"abcde"}', "content", "is the end missing?"),
        ("POST", "/v1/collections/c:search", "", b'{"limit":1.5}', "limit", "must be a whole number"),
        ("POST", "/v1/collections/c:search", "", b'{"limit":true}', "limit", "must be a whole number, not a boolean"),
    ],
)
def test_bad_input_names_field_problem_and_remedy(http: str, path: str, query: str, body: bytes, field: str, says: str):
    found = problems(http, path, query, body)
    assert says in found[field]


def test_an_escaped_backslash_before_u0000_is_no_nul():
    assert transcode("POST", "/v1/agents/a/runs", body=rb'{"input":"a\\u0000b"}').input.text == r'"a\\u0000b"'


def test_a_flood_of_lists_is_refused_before_it_is_built_and_brackets_in_text_are_none():
    assert "holds more than 100000 lists" in problems("POST", "/v1/agents/a/runs", body=b'{"input":[' + b"[]," * 100_000 + b"[]]}")["body"]
    text = orjson.dumps({"input": '["' * 200_000 + "\\"})
    assert transcode("POST", "/v1/agents/a/runs", body=text).input.text.startswith('"[')


def test_a_flood_of_problems_is_cut_short():
    body = json.dumps({f"field{i}": 1 for i in range(5000)}).encode()
    assert len(problems("POST", "/v1/agents", body=body)) == 20


def test_null_means_absent_except_where_json_itself_is_the_value():
    request = transcode("POST", "/v1/agents/a/runs", body=b'{"input":null,"idempotencyKey":null}')
    assert request == runs_pb2.SubmitRunRequest(agent="a", input={"text": "null"})


def test_sixty_four_bit_integers_are_written_as_strings_and_read_as_both():
    assert orjson.loads(WRITER.write(run_pb2.Run(seq=2**62)))["seq"] == str(2**62)
    for body in (b'{"prompt":{"version":9007199254740993}}', b'{"prompt":{"version":"9007199254740993"}}'):
        assert transcode("POST", "/v1/prompts", body=body).prompt.version == 9007199254740993


def test_answers_show_defaults_and_leave_out_only_what_is_absent():
    written = orjson.loads(WRITER.write(run_events_pb2.RunEvent(seq=1, step_started={"node": "n"})))
    assert written == {
        "runId": "",
        "seq": "1",
        "tenant": "",
        "agent": "",
        "agentDigest": "",
        "epoch": "0",
        "stepStarted": {"node": "n", "kind": "", "attempt": 0},
        "abridged": False,
    }


def test_numbers_that_json_lacks_are_written_as_words():
    written = orjson.loads(WRITER.write(document_pb2.Passage(score=float("inf"))))
    assert written["score"] == "Infinity"


def test_an_enum_value_of_a_newer_service_is_shown_as_its_number():
    assert orjson.loads(WRITER.write(run_pb2.Run(status=99)))["status"] == 99  # type: ignore[arg-type]

"""What the orchestrator is asked: one case per method, as REST asks it and as the orchestrator hears it."""

from dataclasses import dataclass

from google.protobuf.message import Message
from plimsoll.orchestrator.v1 import orchestrator_service_pb2 as pb
from plimsoll.orchestrator.v1 import run_pb2, schedule_pb2, thread_pb2, webhook_pb2

ACTOR = "<actor>"  # stands for the name of the key that is used


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One method: as REST asks it, what the service behind hears, and what it answers."""

    method: str
    http: str
    path: str
    body: object = None
    service: str = "orchestrator"
    heard: Message
    answer: Message
    shows: dict[str, object]


RUN = run_pb2.Run(run_id="run_1", agent="support", seq=3, state={"text": '{"n":12345678901234567890123}'})
PAUSED = run_pb2.Run(run_id="run_1", status=run_pb2.RUN_STATUS_PAUSED)
THREAD = thread_pb2.Thread(thread_id="t-1", active_run_id="run_1", queued_runs=2)
SCHEDULE = schedule_pb2.Schedule(name="nightly", agent="pipeline", cron="0 3 * * *", time_zone="Europe/Berlin")
WEBHOOK = webhook_pb2.Webhook(name="shop", url="https://shop.example/hook", statuses=[run_pb2.RUN_STATUS_FAILED])
DELIVERY = webhook_pb2.WebhookDelivery(delivery_id="dlv_1", status=webhook_pb2.DELIVERY_STATUS_DEAD, attempts=8)

ORCHESTRATOR = [
    Case(
        method="SubmitRun",
        http="POST",
        path="/v1/agents/support/runs",
        body={
            "input": {"message": "hello"},
            "idempotencyKey": "k",
            "options": {
                "priority": 7,
                "budget": {"steps": "5", "time": "90s"},
                "threadId": "t-1",
                "threadPolicy": "THREAD_POLICY_STEER",
                "concurrencyKey": "account-7",
                "concurrencyLimit": 2,
                "followLatest": True,
            },
        },
        heard=pb.StartRunRequest(
            agent="support",
            input={"text": '{"message":"hello"}'},
            idempotency_key="k",
            options={
                "priority": 7,
                "budget": {"steps": 5, "time": {"seconds": 90}},
                "thread_id": "t-1",
                "thread_policy": run_pb2.THREAD_POLICY_STEER,
                "concurrency_key": "account-7",
                "concurrency_limit": 2,
                "follow_latest": True,
            },
        ),
        answer=pb.StartRunResponse(run=RUN, created=True, steered=True),
        shows={"run.runId": "run_1", "run.seq": "3", "created": True, "steered": True},
    ),
    Case(
        method="GetRun",
        http="GET",
        path="/v1/runs/run_1",
        heard=pb.GetRunRequest(run_id="run_1"),
        answer=pb.GetRunResponse(run=RUN),
        shows={"run.agent": "support"},
    ),
    Case(
        method="ListRuns",
        http="GET",
        path="/v1/runs?agent=support&status=RUN_STATUS_QUARANTINED&pageSize=2&pageToken=t&threadId=t-1&parentRunId=run_0",
        heard=pb.ListRunsRequest(
            agent="support",
            status=run_pb2.RUN_STATUS_QUARANTINED,
            page_size=2,
            page_token="t",
            thread_id="t-1",
            parent_run_id="run_0",
        ),
        answer=pb.ListRunsResponse(runs=[RUN], next_page_token="u"),
        shows={"runs.0.runId": "run_1", "nextPageToken": "u"},
    ),
    Case(
        method="CancelRun",
        http="POST",
        path="/v1/runs/run_1:cancel",
        body={"reason": "no need"},
        heard=pb.CancelRunRequest(run_id="run_1", reason="no need", cancelled_by=ACTOR),
        answer=pb.CancelRunResponse(run=run_pb2.Run(run_id="run_1", status=run_pb2.RUN_STATUS_CANCELLED)),
        shows={"run.status": "RUN_STATUS_CANCELLED"},
    ),
    Case(
        method="ListApprovals",
        http="GET",
        path="/v1/approvals?status=APPROVAL_STATUS_PENDING&runId=run_1&pageSize=2&pageToken=t",
        heard=pb.ListApprovalsRequest(status=run_pb2.APPROVAL_STATUS_PENDING, run_id="run_1", page_size=2, page_token="t"),
        answer=pb.ListApprovalsResponse(
            approvals=[run_pb2.Approval(approval_id="apr_1", proposal={"tool": "refund"})], next_page_token="u"
        ),
        shows={"approvals.0.proposal.tool": "refund", "nextPageToken": "u"},
    ),
    Case(
        method="DecideApproval",
        http="POST",
        path="/v1/approvals/apr_1:decide",
        body={"decision": "DECISION_REJECT", "comment": "less", "arguments": {"amount": 5}},
        heard=pb.DecideApprovalRequest(
            approval_id="apr_1",
            decision=pb.DECISION_REJECT,
            comment="less",
            decided_by=ACTOR,
            arguments={"text": '{"amount":5}'},
        ),
        answer=pb.DecideApprovalResponse(
            approval=run_pb2.Approval(approval_id="apr_1", decided_by="console", approved_by=["ann"], quorum=2)
        ),
        shows={"approval.decidedBy": "console", "approval.approvedBy.0": "ann", "approval.quorum": 2},
    ),
    Case(
        method="RegisterAgent",
        http="POST",
        path="/v1/agents",
        body={"source": "agent: a", "sourceName": "a.yaml"},
        heard=pb.RegisterAgentRequest(source="agent: a", source_name="a.yaml"),
        answer=pb.RegisterAgentResponse(agent={"name": "a", "version": 1}, created=True),
        shows={"agent.version": "1", "created": True},
    ),
    Case(
        method="GetAgent",
        http="GET",
        path="/v1/agents/a",
        heard=pb.GetAgentRequest(name="a"),
        answer=pb.GetAgentResponse(agent={"name": "a", "graph": {"text": '{"nodes":{}}'}}),
        shows={"agent.graph.nodes": {}},
    ),
    Case(
        method="ListAgents",
        http="GET",
        path="/v1/agents?pageSize=2&pageToken=t",
        heard=pb.ListAgentsRequest(page_size=2, page_token="t"),
        answer=pb.ListAgentsResponse(agents=[{"name": "a"}], next_page_token="u"),
        shows={"agents.0.name": "a", "nextPageToken": "u"},
    ),
    Case(
        method="PauseRun",
        http="POST",
        path="/v1/runs/run_1:pause",
        body={"reason": "look first"},
        heard=pb.PauseRunRequest(run_id="run_1", reason="look first", paused_by=ACTOR),
        answer=pb.PauseRunResponse(run=PAUSED),
        shows={"run.status": "RUN_STATUS_PAUSED"},
    ),
    Case(
        method="ResumeRun",
        http="POST",
        path="/v1/runs/run_1:resume",
        heard=pb.ResumeRunRequest(run_id="run_1", resumed_by=ACTOR),
        answer=pb.ResumeRunResponse(run=RUN),
        shows={"run.runId": "run_1"},
    ),
    Case(
        method="SignalRun",
        http="POST",
        path="/v1/runs/run_1:signal",
        body={"name": "paid", "payload": {"amount": 12}, "idempotencyKey": "k"},
        heard=pb.SignalRunRequest(run_id="run_1", name="paid", payload={"text": '{"amount":12}'}, idempotency_key="k", sent_by=ACTOR),
        answer=pb.SignalRunResponse(signal_id="sgn_1"),
        shows={"signalId": "sgn_1"},
    ),
    Case(
        method="ForkRun",
        http="POST",
        path="/v1/runs/run_1:fork",
        body={"seq": "4", "state": {"x": None}, "node": "answer", "latest": True, "idempotencyKey": "k", "options": {"priority": 9}},
        heard=pb.ForkRunRequest(
            run_id="run_1",
            seq=4,
            state={"text": '{"x":null}'},
            node="answer",
            latest=True,
            idempotency_key="k",
            options={"priority": 9},
        ),
        answer=pb.ForkRunResponse(run=RUN, created=True),
        shows={"run.runId": "run_1", "created": True},
    ),
    Case(
        method="RetryRun",
        http="POST",
        path="/v1/runs/run_1:retry",
        body={"latest": True, "idempotencyKey": "k"},
        heard=pb.RetryRunRequest(run_id="run_1", latest=True, idempotency_key="k"),
        answer=pb.RetryRunResponse(run=RUN, created=True),
        shows={"created": True},
    ),
    Case(
        method="ExplainRun",
        http="GET",
        path="/v1/runs/run_1:explain",
        heard=pb.ExplainRunRequest(run_id="run_1"),
        answer=pb.ExplainRunResponse(obstacles=[{"reason": "THREAD", "message": "waits for run_0", "subject": "run_0"}]),
        shows={"obstacles.0.reason": "THREAD", "obstacles.0.subject": "run_0"},
    ),
    Case(
        method="QueryRun",
        http="POST",
        path="/v1/runs/run_1:query",
        body={"expression": "state.n + 1"},
        heard=pb.QueryRunRequest(run_id="run_1", expression="state.n + 1"),
        answer=pb.QueryRunResponse(value={"text": "7"}, seq=3),
        shows={"value": 7, "seq": "3"},
    ),
    Case(
        method="GetThread",
        http="GET",
        path="/v1/threads/t-1",
        heard=pb.GetThreadRequest(thread_id="t-1"),
        answer=pb.GetThreadResponse(thread=THREAD),
        shows={"thread.activeRunId": "run_1", "thread.queuedRuns": "2"},
    ),
    Case(
        method="ListThreads",
        http="GET",
        path="/v1/threads?pageSize=2&pageToken=t",
        heard=pb.ListThreadsRequest(page_size=2, page_token="t"),
        answer=pb.ListThreadsResponse(threads=[THREAD], next_page_token="u"),
        shows={"threads.0.threadId": "t-1", "nextPageToken": "u"},
    ),
    Case(
        method="CheckAgent",
        http="POST",
        path="/v1/agents:check",
        body={"source": "agent: a", "sourceName": "a.yaml"},
        heard=pb.CheckAgentRequest(source="agent: a", source_name="a.yaml"),
        answer=pb.CheckAgentResponse(
            digest="d",
            broken_runs=[{"run_id": "run_1", "status": run_pb2.RUN_STATUS_WAITING, "problem": "its node is gone"}],
            checked_runs=3,
        ),
        shows={"brokenRuns.0.status": "RUN_STATUS_WAITING", "checkedRuns": "3", "mistakes": []},
    ),
    Case(
        method="PutSchedule",
        http="PUT",
        path="/v1/schedules/nightly",
        body={
            "agent": "pipeline",
            "cron": "0 3 * * *",
            "timeZone": "Europe/Berlin",
            "missed": "MISSED_POLICY_SKIP",
            "options": {"priority": 2},
        },
        heard=pb.PutScheduleRequest(
            schedule={
                "name": "nightly",
                "agent": "pipeline",
                "cron": "0 3 * * *",
                "time_zone": "Europe/Berlin",
                "missed": schedule_pb2.MISSED_POLICY_SKIP,
                "options": {"priority": 2},
            }
        ),
        answer=pb.PutScheduleResponse(schedule=SCHEDULE),
        shows={"schedule.cron": "0 3 * * *"},
    ),
    Case(
        method="GetSchedule",
        http="GET",
        path="/v1/schedules/nightly",
        heard=pb.GetScheduleRequest(name="nightly"),
        answer=pb.GetScheduleResponse(schedule=SCHEDULE),
        shows={"schedule.timeZone": "Europe/Berlin"},
    ),
    Case(
        method="ListSchedules",
        http="GET",
        path="/v1/schedules?pageSize=2&pageToken=t",
        heard=pb.ListSchedulesRequest(page_size=2, page_token="t"),
        answer=pb.ListSchedulesResponse(schedules=[SCHEDULE], next_page_token="u"),
        shows={"schedules.0.name": "nightly", "nextPageToken": "u"},
    ),
    Case(
        method="DeleteSchedule",
        http="DELETE",
        path="/v1/schedules/nightly",
        heard=pb.DeleteScheduleRequest(name="nightly"),
        answer=pb.DeleteScheduleResponse(),
        shows={},
    ),
    Case(
        method="PutWebhook",
        http="PUT",
        path="/v1/webhooks/shop?rotate=true",
        body={"url": "https://shop.example/hook", "statuses": ["RUN_STATUS_FAILED"]},
        heard=pb.PutWebhookRequest(webhook=WEBHOOK, rotate=True),
        answer=pb.PutWebhookResponse(webhook=WEBHOOK, secret="whsec_bmV3"),
        shows={"webhook.statuses": ["RUN_STATUS_FAILED"], "secret": "whsec_bmV3"},
    ),
    Case(
        method="ListWebhooks",
        http="GET",
        path="/v1/webhooks?pageSize=2&pageToken=t",
        heard=pb.ListWebhooksRequest(page_size=2, page_token="t"),
        answer=pb.ListWebhooksResponse(webhooks=[WEBHOOK], next_page_token="u"),
        shows={"webhooks.0.name": "shop", "nextPageToken": "u"},
    ),
    Case(
        method="DeleteWebhook",
        http="DELETE",
        path="/v1/webhooks/shop",
        heard=pb.DeleteWebhookRequest(name="shop"),
        answer=pb.DeleteWebhookResponse(),
        shows={},
    ),
    Case(
        method="ListWebhookDeliveries",
        http="GET",
        path="/v1/deliveries?webhook=shop&runId=run_1&status=DELIVERY_STATUS_DEAD&pageSize=2&pageToken=t",
        heard=pb.ListWebhookDeliveriesRequest(
            webhook="shop", run_id="run_1", status=webhook_pb2.DELIVERY_STATUS_DEAD, page_size=2, page_token="t"
        ),
        answer=pb.ListWebhookDeliveriesResponse(deliveries=[DELIVERY], next_page_token="u"),
        shows={"deliveries.0.attempts": 8, "nextPageToken": "u"},
    ),
    Case(
        method="ReplayWebhookDelivery",
        http="POST",
        path="/v1/deliveries/dlv_1:replay",
        heard=pb.ReplayWebhookDeliveryRequest(delivery_id="dlv_1"),
        answer=pb.ReplayWebhookDeliveryResponse(delivery=DELIVERY),
        shows={"delivery.status": "DELIVERY_STATUS_DEAD"},
    ),
]

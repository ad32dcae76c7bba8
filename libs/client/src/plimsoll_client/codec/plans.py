"""Schedules, webhooks and their deliveries, and checked agents."""

from plimsoll.gateway.v1 import agents_pb2
from plimsoll.orchestrator.v1 import run_pb2, schedule_pb2, webhook_pb2
from plimsoll_runtime.wire import json_to_proto, object_from_proto

from plimsoll_client.codec.options import options_from_proto, options_to_proto
from plimsoll_client.codec.runs import run_status
from plimsoll_client.codec.words import moment, word
from plimsoll_client.models import BrokenRun, CheckedAgent, Mistake
from plimsoll_client.schedules import MissedPolicy, Schedule, ScheduleDraft
from plimsoll_client.webhooks import Delivery, DeliveryStatus, Webhook, WebhookDraft

_MISSED, _STATUS, _DELIVERY = "MISSED_POLICY_", "RUN_STATUS_", "DELIVERY_STATUS_"


def schedule_to_proto(draft: ScheduleDraft) -> schedule_pb2.Schedule:
    return schedule_pb2.Schedule(
        agent=draft.agent,
        input=json_to_proto(draft.input),
        cron=draft.cron,
        time_zone=draft.time_zone,
        missed=schedule_pb2.MissedPolicy.Value(_MISSED + draft.missed.name) if draft.missed else schedule_pb2.MISSED_POLICY_UNSPECIFIED,
        paused=draft.paused,
        options=options_to_proto(draft.options),
    )


def schedule_from_proto(message: schedule_pb2.Schedule) -> Schedule:
    return Schedule(
        draft=ScheduleDraft(
            name=message.name,
            agent=message.agent,
            cron=message.cron,
            input=object_from_proto(message.input, "schedule.input"),
            time_zone=message.time_zone,
            missed=word(MissedPolicy, schedule_pb2.MissedPolicy.DESCRIPTOR, message.missed, _MISSED) if message.missed else None,
            paused=message.paused,
            options=options_from_proto(message.options),
        ),
        next_at=moment(message, "next_time", message.next_time),
        last_at=moment(message, "last_time", message.last_time),
        last_run_id=message.last_run_id,
        last_problem=message.last_problem,
    )


def webhook_to_proto(draft: WebhookDraft) -> webhook_pb2.Webhook:
    statuses = [run_pb2.RunStatus.Value(_STATUS + status.name) for status in draft.statuses]
    return webhook_pb2.Webhook(url=draft.url, agent=draft.agent, statuses=statuses, disabled=draft.disabled)


def webhook_from_proto(message: webhook_pb2.Webhook) -> Webhook:
    return Webhook(
        draft=WebhookDraft(
            name=message.name,
            url=message.url,
            agent=message.agent,
            statuses=tuple(run_status(status) for status in message.statuses),
            disabled=message.disabled,
        ),
        created_at=moment(message, "create_time", message.create_time),
    )


def delivery_from_proto(message: webhook_pb2.WebhookDelivery) -> Delivery:
    return Delivery(
        id=message.delivery_id,
        webhook=message.webhook,
        run_id=message.run_id,
        status=word(DeliveryStatus, webhook_pb2.DeliveryStatus.DESCRIPTOR, message.status, _DELIVERY),
        attempts=message.attempts,
        last_result=message.last_result,
        created_at=moment(message, "create_time", message.create_time),
        next_at=moment(message, "next_time", message.next_time),
        delivered_at=moment(message, "deliver_time", message.deliver_time),
    )


def delivery_status_to_proto(status: DeliveryStatus | None) -> "webhook_pb2.DeliveryStatus.ValueType":
    """None asks for all."""
    return webhook_pb2.DeliveryStatus.Value(_DELIVERY + (status.name if status else "UNSPECIFIED"))


def checked_from_proto(message: agents_pb2.CheckAgentResponse) -> CheckedAgent:
    return CheckedAgent(
        mistakes=tuple(Mistake(place=one.place, problem=one.problem, remedy=one.remedy) for one in message.mistakes),
        digest=message.digest,
        broken_runs=tuple(
            BrokenRun(run_id=one.run_id, status=run_status(one.status), node=one.node, problem=one.problem) for one in message.broken_runs
        ),
        checked_runs=message.checked_runs,
    )

"""Steps of one call: a model, a tool, a search."""

from collections.abc import Mapping

from plimsoll_graph.expression import Template, fill
from plimsoll_graph.graph import ModelNode, PromptName, RetrieveNode, ToolNode
from plimsoll_runtime.errors import Conflict
from plimsoll_runtime.failures import Category, Failure
from plimsoll_runtime.json_types import JsonObject

from plimsoll_orchestrator.domain.actions import Done, Failed
from plimsoll_orchestrator.domain.journal import ApprovalStatus, Proposal
from plimsoll_orchestrator.ports import Answer, NeedsApproval, NoAnswer, Question, Refused, Returned, ToolOutcome
from plimsoll_orchestrator.steps.outcome import Ask
from plimsoll_orchestrator.steps.site import Site, reference

APPROVAL_EXPIRES_S = 24 * 3600.0
OF_MEMORY = ("reads:private", "reads:untrusted")
"""What memory gives is the tenant's own, and it instructs nobody."""
_KEY_TAKEN = "CALL_KEY_TAKEN"


async def ask_model(site: Site, kind: ModelNode) -> Done | Failed:
    """Ask once; the result is {text, output, confidence, model, rehearsal}."""
    question = Question(
        request_key=site.key("model"),
        prompt=kind.prompt,
        prompt_digest=site.pinned(kind.prompt),
        variables=filled(kind.variables, site),
        conversation=(),
        tools=(),
        output_schema=kind.output,
        task=kind.task,
        max_tokens=kind.max_tokens,
        work=site.work,
    )
    answer = await site.models.generate(question, site.hear)
    if isinstance(answer, NoAnswer):
        return Failed(failure=answer.failure, usage=answer.usage)
    await site.memory.report_use(answer.text, site.work)
    result: JsonObject = {
        "text": answer.text,
        "output": answer.output,
        "confidence": answer.confidence,
        "model": answer.model,
        "rehearsal": answer.rehearsal,
    }
    return Done(
        result=result, usage=answer.usage, rehearsal=answer.rehearsal, facts=model_facts(answer), prompts=prompts_of(kind.prompt, answer)
    )


async def call_tool(site: Site, kind: ToolNode) -> Done | Failed | Ask:
    """Call once; a call that needs leave asks for it, and is made with the grant afterwards."""
    key, arguments = site.key("tool"), filled(kind.arguments, site)
    try:
        outcome = await dispatched(site, key, kind.tool, arguments)
    except Conflict as error:
        if error.reason != _KEY_TAKEN or key == site.own_key("tool"):
            raise
        key = site.own_key("tool")  # an earlier try called with other arguments: this is not that call again
        outcome = await dispatched(site, key, kind.tool, arguments)
    match outcome:
        case Returned(result=result, degraded=degraded, labels=labels):
            facts: JsonObject = {"tool": kind.tool, "degraded": degraded} if degraded else {"tool": kind.tool}
            return Done(result=result, facts=facts, labels=labels)
        case Refused(failure=failure, unsettled=unsettled):
            return Failed(failure=failure, unsettled=unsettled)
        case NeedsApproval(proposal=proposal):
            return ask_for(site, key, proposal)


async def dispatched(site: Site, key: str, tool: str, arguments: JsonObject) -> ToolOutcome:
    """Make a call, with the arguments that people last proposed for it."""
    edited = site.put_otherwise(key)
    final = arguments if edited is None or edited.instead is None else edited.instead
    return await site.tools.dispatch(key, tool, final, site.grants, site.work, site.is_fresh)


async def retrieve(site: Site, kind: RetrieveNode) -> Done | Failed:
    """Search; finding nothing is a failure, so that no empty context flows on."""
    query = kind.query.evaluate(site.scope)
    if not isinstance(query, str) or not query.strip():
        return Failed(failure=_failure(Category.CONTEXT_INVALID, "QUERY_EMPTY", "the query is not a text with words in it", site.node.name))
    found = await site.memory.search(kind.collection, query, kind.limit, filled(kind.filter, site), site.work)
    if isinstance(found, Failure):
        return Failed(failure=found)
    if not found.passages:
        return Failed(failure=_failure(Category.RETRIEVAL_EMPTY, "NOTHING_FOUND", f"nothing found in {kind.collection}", kind.collection))
    result: JsonObject = {"passages": list(found.passages), "receipt": found.receipt}
    return Done(result=result, facts={"collection": kind.collection, "passages": len(found.passages)}, labels=OF_MEMORY)


def ask_for(site: Site, key: str, proposal: Proposal) -> Ask | Failed:
    """A question about a call, unless it was answered already: a person's no is a failure."""
    decided = site.decided(proposal.call_digest)
    if decided is None:
        details: JsonObject = {"tool": proposal.tool, "arguments": proposal.effective_arguments}
        expires_s = proposal.terms.expires_s or APPROVAL_EXPIRES_S
        edited = site.put_otherwise(key)
        return Ask(
            summary=f"Allow {proposal.tool}?",
            details=details,
            expires_s=expires_s,
            proposal=proposal,
            call_key=key,
            proposed_by=edited.decided_by if edited is not None else "",
        )
    if decided.status is ApprovalStatus.APPROVED:  # granted and still refused: the grant was spent or no longer fits
        return Failed(
            failure=_failure(
                Category.POLICY_DENIED, "GRANT_NOT_ACCEPTED", "the call was approved but its grant was not accepted", proposal.tool
            )
        )
    return Failed(failure=rejection(decided.status, decided.comment, proposal.tool))


def rejection(status: ApprovalStatus, comment: str, where: str) -> Failure:
    """The failure that a person's no, or nobody's answer, is."""
    if status is ApprovalStatus.EXPIRED:
        return _failure(Category.APPROVAL_REJECTED, "APPROVAL_EXPIRED", "nobody decided in time", where)
    return _failure(Category.APPROVAL_REJECTED, "APPROVAL_REJECTED", comment or "a person said no", where)


def filled(templates: Mapping[str, Template], site: Site) -> JsonObject:
    """The values of a mapping of templates. Raises ExpressionFailed."""
    scope = site.scope
    return {name: fill(template, scope) for name, template in templates.items()}


def prompts_of(prompt: PromptName, answer: Answer) -> dict[str, str]:
    """The version that answered, for the run to go on with."""
    name = reference(prompt)
    return {name: answer.prompt_digest} if name and answer.prompt_digest else {}


def model_facts(answer: Answer) -> JsonObject:
    return {"provider": answer.provider, "model": answer.model, "confidence": answer.confidence, "prompt": answer.prompt_digest}


def _failure(category: Category, reason: str, message: str, where: str) -> Failure:
    return Failure(category=category, reason=reason, message=message, where=where)

"""A bundle directory into values, with every mistake at once and its file and line."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from plimsoll_runtime.errors import FieldProblem

from plimsoll_client.bundles.prompts import PromptFile, read_prompt
from plimsoll_client.bundles.yaml_text import Mistake, NotReadable, parse_yaml
from plimsoll_client.errors import BadBundle, BadInput
from plimsoll_client.files import document_content, media_type, read_given, text_of

GRAPH = "agent.yaml"
NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")

__all__ = ["Bundle", "KnowledgeFile", "PromptFile", "find_bundles", "read_bundles"]


@dataclass(frozen=True, slots=True, kw_only=True)
class KnowledgeFile:
    """A document to ingest; `source` is its path inside the collection's folder."""

    collection: str
    source: str
    media_type: str
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """Everything of an agent that goes through the gateway. Tools are not part of it: the tool-dispatcher loads them from the same folder."""

    directory: Path
    agent: str
    graph: str = field(repr=False)
    prompts: tuple[PromptFile, ...]
    knowledge: tuple[KnowledgeFile, ...]


def find_bundles(directory: Path) -> tuple[Path, ...]:
    """The directory itself when it holds an agent.yaml, else its subdirectories that do. Raises BadBundle when there is none."""
    if (directory / GRAPH).is_file():
        return (directory,)
    found = tuple(sorted(path.parent for path in directory.glob(f"*/{GRAPH}"))) if directory.is_dir() else ()
    if not found:
        problem = f"holds no {GRAPH}, and no folder in it does" if directory.is_dir() else "is not a folder"
        raise _bad([FieldProblem(str(directory), problem, f"Give a folder with an {GRAPH}, or a folder of such folders")])
    return found


def read_bundles(directory: Path) -> tuple[Bundle, ...]:
    """Read one bundle or a folder of them. Raises BadBundle with every mistake in all of them."""
    problems: list[FieldProblem] = []
    bundles = tuple(_read_bundle(path, problems) for path in find_bundles(directory))
    names = [bundle.agent for bundle in bundles]
    problems.extend(
        FieldProblem(str(bundle.directory / GRAPH), f"names agent {bundle.agent}, as another folder does", "Rename one")
        for bundle in bundles
        if bundle.agent and names.count(bundle.agent) > 1
    )
    if problems:
        raise _bad(problems)
    return bundles


def _read_bundle(directory: Path, problems: list[FieldProblem]) -> Bundle:
    graph = _read_text(directory / GRAPH, problems)
    return Bundle(
        directory=directory,
        agent=_agent_name(directory / GRAPH, graph, problems) if graph else "",
        graph=graph,
        prompts=_read_prompts(directory / "prompts", problems),
        knowledge=tuple(_read_knowledge(directory / "knowledge", problems)),
    )


def _agent_name(path: Path, text: str, problems: list[FieldProblem]) -> str:
    """The graph's own mistakes are the orchestrator's to find; here only that there is a named one."""
    try:
        document = parse_yaml(text)
    except NotReadable as error:
        problems.append(_located(path, error.mistake))
        return ""
    name = document.value.get("agent")
    if isinstance(name, str) and NAME.fullmatch(name):
        return name
    problem = "has no agent" if name is None else f"has agent {name!r}, which is not a name"
    problems.append(_located(path, Mistake(document.line("agent"), problem, "Add `agent: a-name` in small letters, digits and dashes")))
    return ""


def _read_prompts(directory: Path, problems: list[FieldProblem]) -> tuple[PromptFile, ...]:
    prompts: dict[str, PromptFile] = {}
    for path in sorted(path for path in directory.glob("*") if path.suffix in {".yaml", ".yml"}):
        if not (text := _read_text(path, problems)):
            continue
        prompt, mistakes = read_prompt(text)
        problems.extend(_located(path, mistake) for mistake in mistakes)
        if prompt is None:
            continue
        if prompt.draft.name in prompts:
            problems.append(_located(path, Mistake(1, f"registers prompt {prompt.draft.name}, as another file does", "Rename one")))
        prompts[prompt.draft.name] = prompt
    return tuple(prompts.values())


def _read_knowledge(directory: Path, problems: list[FieldProblem]) -> Iterator[KnowledgeFile]:
    for path in sorted(_visible(directory)):
        inside = path.relative_to(directory)
        if len(inside.parts) < 2:
            problems.append(
                FieldProblem(str(path), "is in no collection", f"Move it into a folder of {directory}, named after the collection")
            )
            continue
        collection = inside.parts[0]
        if not NAME.fullmatch(collection):
            problems.append(FieldProblem(str(directory / collection), "is not a collection's name", "Use small letters, digits and dashes"))
        try:
            yield KnowledgeFile(
                collection=collection,
                source=Path(*inside.parts[1:]).as_posix(),
                media_type=media_type(path),
                content=document_content(path),
            )
        except BadInput as error:
            problems.append(_named(path, error))


def _visible(directory: Path) -> Iterator[Path]:
    """Every file below, but for those whose name or folder begins with a dot."""
    for path in directory.rglob("*"):
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(directory).parts):
            yield path


def _read_text(path: Path, problems: list[FieldProblem]) -> str:
    try:
        return text_of(read_given(str(path)))
    except BadInput as error:
        problems.append(_named(path, error))
        return ""


def _named(path: Path, error: BadInput) -> FieldProblem:
    problem = error.problems[0]
    return FieldProblem(str(path), problem.problem, problem.remedy)


def _located(path: Path, mistake: Mistake) -> FieldProblem:
    return FieldProblem(f"{path}:{mistake.line}", mistake.problem, mistake.remedy)


def _bad(problems: list[FieldProblem]) -> BadBundle:
    count = "1 mistake" if len(problems) == 1 else f"{len(problems)} mistakes"
    return BadBundle(f"{count}, nothing was applied", problems=problems)

"""Which forget corpus produced this model, and who recorded it."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lethe.console import Json, console, end, print_json
from lethe.provenance.audit_view import show

if TYPE_CHECKING:
    from lethe.provenance.artifact_store import Store
    from lethe.provenance.fingerprint import Subject
    from lethe.provenance.history import Commit, History
    from lethe.provenance.integrity import Status
    from lethe.provenance.lineage import Found, Link

VERSIONS = "provenance.json"
Ref = Annotated[str, typer.Option(help="A branch, tag, commit or experiment to answer from, instead of HEAD.")]
Every = Annotated[bool, typer.Option("--all", help="Answer from every branch, tag and experiment of this clone.")]


def command(
    model: Annotated[str, typer.Argument(help="A model folder, one safetensors file of it, or a hash.")],
    verify: Annotated[bool, typer.Option("--verify", help="Hash every available artifact again.")] = False,
    fetch: Annotated[
        bool, typer.Option("--fetch", help="Fetch branches and experiments of git's remotes first.")
    ] = False,
    ref: Ref = "HEAD",
    every: Every = False,
    json: Json = False,
) -> None:
    """Show which forget corpus produced a MODEL, wherever it was copied to, and who recorded it and when.

    Searches dvc.lock in every commit that HEAD, or the --ref, was made from. Exit code 0: the chain is printed. 3: the
    model matches nothing there, and other refs that hold it, or the nearest models, are listed; or --verify found that
    an artifact or a record differs.
    """
    from lethe.provenance.artifact_store import open_store
    from lethe.provenance.fingerprint import subject_of
    from lethe.provenance.history import fetch_all, open_history, open_project

    subject = subject_of(model)
    if fetch:
        fetch_all(open_project(Path()))
    history = open_history(Path(), "" if every else ref)
    store = open_store(history.project)
    answer = audit(history, store, subject, verify)
    print_json(answer) if json else show(answer, console())
    end(bool(answer["model"]) and not any(row["state"] == "present and different" for row in answer["verify"] or ()))


def audit(history: History, store: Store, subject: Subject, verify: bool) -> dict[str, Any]:
    """All that git, dvc.lock and the available artifacts say about the subject, ready for JSON."""
    from lethe.provenance.lineage import find, nearest, refuse_unrecorded

    found = find(history, store, subject)
    if not found:
        beside = elsewhere(history, store, subject)
        if not beside:
            refuse_unrecorded(history, subject)
        rows = nearest(history, store, subject)
        answer: dict[str, Any] = {
            "given": subject.given,
            "md5": subject.md5,
            "model": None,
            "elsewhere": beside,
            "nearest": rows,
            "verify": None,
        }
    else:
        answer = {"given": subject.given, "md5": subject.md5, **about(history, store, subject, found[0], verify)}
        answer["also"] = [{"path": each.path, "md5": each.md5, "how": each.how} for each in found[1:]]
    return {"history": scope_row(history), **answer, "notes": notes(history, store, former_places(history))}


def scope_row(history: History) -> dict[str, Any]:
    """The history that an answer speaks of, as JSON."""
    return {**history.scope._asdict(), "commits": len(history.commits)}


def elsewhere(history: History, store: Store, subject: Subject) -> list[dict[str, Any]]:
    """What records the model although the history asked about does not: its first commit there, and the refs with it.

    Anybody who can push a branch can write such a record.
    """
    from lethe.provenance.history import open_history, others
    from lethe.provenance.lineage import find, outs_of

    if not others(history):
        return []
    whole = open_history(history.project.folder, "")
    index = outs_of(whole)
    rows = []
    for found in find(whole, store, subject):
        commit = whole.locks[index[found.md5][found.path][0]].commits[0]
        rows.append({"path": found.path, "md5": found.md5, **recorded_by(whole, commit, found)})
    return rows


def about(history: History, store: Store, subject: Subject, found: Found, verify: bool) -> dict[str, Any]:
    """The answer for a model that was found."""
    from lethe.custody.stated import part
    from lethe.gate.criteria import JUDGED
    from lethe.provenance import lineage
    from lethe.provenance.code import code_commit, code_used, recommitted
    from lethe.provenance.integrity import DIFFERENT, cross_checks, gate_of, unchecked

    links = lineage.chain(history, found)
    made_in = history.locks[links[0].lock].commits[0]
    code = code_used(history, links)
    commit, differing = code_commit(history, code, made_in)
    own = provenance_of(store, subject, found)
    metrics, reports, lock = lineage.measured(history, found)
    measured_in = lock.commits[-1]
    checks = cross_checks(history, store, links, own, (metrics, lock), deep=verify)
    params = lineage.params_used(history, links)
    rows = None
    if verify:
        rows = verified(history, store, links, (code, commit, differing), (reports, metrics, measured_in.id), checks)
    unvouched = sorted(reports.keys() - metrics.keys())
    gate = gate_of(metrics, lock)
    if gate and gate["verdict"] == "pass" and {f"reports/{name}.json" for name in JUDGED}.intersection(unvouched):
        gate["verdict"] = "cannot tell"  # it may not follow from the report that was edited
    return {
        "model": {"path": found.path, "md5": found.md5, "how": found.how},
        "recorded": recorded_by(history, made_in, found),
        "chain": [chain_row(link) for link in links],
        "spine": [link.path for link in lineage.spine(links)],
        "corpus": corpus_of(history, store, links),
        "baseline": origin(params.get("baseline", {})),
        "params": params,
        "code": {"commit": commit, "files": code, "not_in_the_commit_of_the_lock": differing},
        "recommitted": [{**commit_row(each), "stages": stages} for each, stages in recommitted(history, links)],
        "versions": part(own, "versions") or None,
        "metrics": metrics,
        "measured_in": measured_in.id,
        "unvouched": unvouched,
        "gate": gate,
        "contradictions": [row._asdict() for row in checks if row.state == DIFFERENT],
        "verify": None if rows is None else [row._asdict() for row in rows],
        "unchecked": None if rows is None else unchecked(own, rows, metrics, lock),
    }


def recorded_by(history: History, commit: Commit, found: Found) -> dict[str, Any]:
    """Who recorded the model first, when, and where that commit is."""
    from lethe.provenance.history import recorded, refs_with

    holding = [
        each
        for lock in history.locks
        if any(entry.outs.get(found.path) == found.md5 for entry in recorded(lock.text).values())
        for each in lock.commits
    ]
    return {**commit_row(commit), "refs": refs_with(history.project, commit.id), "commits": len(holding)}


def commit_row(commit: Commit) -> dict[str, str]:
    """A commit as JSON, without its parents."""
    return {
        "commit": commit.id,
        "author": commit.author,
        "date": commit.date,
        "subject": commit.subject,
        "experiment": commit.experiment,
    }


def origin(baseline: Mapping[str, Any]) -> dict[str, Any]:
    """Where the baseline came from: a folder or a GGUF file by its path, the Hub's model by name and commit."""
    own = baseline.get("source") in ("folder", "gguf")
    folder = own and "folder" in baseline  # older params named it under `model`
    names = ("source", "folder") if folder else ("source", "model", "revision")
    return {name: baseline.get(name) for name in names}


def chain_row(link: Link) -> dict[str, Any]:
    """An artifact of the chain as JSON."""
    return {"path": link.path, "md5": link.md5, "stage": link.stage, "from": link.deps}


def corpus_of(history: History, store: Store, links: Iterable[Link]) -> dict[str, Any] | None:
    """The corpus's md5 and every document's file and span, as far as the corpus is available. None for no corpus."""
    from lethe.provenance.lineage import CORPUS

    link = next((link for link in links if link.path == CORPUS), None)
    if link is None:
        return None
    documents, place = documents_of(history, store, link.md5)
    spans = [{name: row[name] for name in ("side", "part", "file", "start", "end")} for row in documents]
    return {"md5": link.md5, "at_hand": place, "documents": spans}


def documents_of(history: History, store: Store, md5: str) -> tuple[list[dict[str, Any]], str]:
    """The rows of a corpus and where it was found: cache, folder, remote NAME; "" and no rows if it is gone."""
    from lethe.provenance.artifact_store import place_of, read_object
    from lethe.provenance.fingerprint import md5_of
    from lethe.provenance.lineage import CORPUS

    place, content = place_of(store, md5), read_object(store, md5)
    here = history.project.folder / CORPUS
    if content is None and here.is_file() and md5_of(here) == md5:
        place, content = "folder", here.read_bytes()
    try:
        return (parquet_rows(content), place) if content is not None else ([], "")
    except (ValueError, OSError):  # pyarrow's errors are of these kinds: it is no parquet
        return [], ""


def parquet_rows(content: bytes, columns: list[str] | None = None) -> list[dict[str, Any]]:
    """The rows of a parquet file, all columns or some."""
    import pyarrow.parquet as pq

    return pq.read_table(io.BytesIO(content), columns=columns).to_pylist()


def provenance_of(store: Store, subject: Subject, found: Found) -> dict[str, Any]:
    """What the model's own provenance.json says; {} if it has none or is not available."""
    from lethe.custody.plain_data import json_object
    from lethe.provenance.artifact_store import read_file
    from lethe.provenance.lineage import json_object_of

    return json_object_of(subject) or json_object(read_file(store, found.md5, VERSIONS) or b"")


def verified(
    history: History,
    store: Store,
    links: list[Link],
    code: tuple[dict[str, str], str, list[str]],
    reports: tuple[dict[str, str], Mapping[str, Any], str],
    checks: Iterable[Status],
) -> list[Status]:
    """The state of every artifact, of the code and of the reports, and whether they agree with each other."""
    from lethe.provenance.integrity import code_status, rehash, report_statuses

    return [*rehash(history, store, links), code_status(*code), *report_statuses(*reports), *checks]


def former_places(history: History) -> list[str]:
    """A line for each other place of dvc.lock in this history at which none lies now: the project lay there once."""
    from lethe.provenance.history import git, object_ids

    asked = ("log", "--no-renames", "--no-show-signature", "--format=", "--name-only", "-z", "--full-history")
    start = history.scope.commit or "--all"
    said = git(history.project, *asked, start, "--", ":(top,glob)**/dvc.lock", patterns=True)
    every = {name for name in said.decode(errors="surrogateescape").replace("\n", "").split("\0") if name}
    others = sorted(every - {f"{history.project.prefix}dvc.lock"})
    here = object_ids(history.project, [f"{history.scope.commit or 'HEAD'}:{path}" for path in others])
    gone = [path for path, id_ in zip(others, here, strict=True) if not id_]
    return [f"{path}: an earlier commit has it there; what it records was not searched" for path in gone]


def notes(history: History, store: Store, moved: Sequence[str]) -> list[str]:
    """What was ignored, and why. moved: the lines of `former_places`."""
    from lethe.provenance.artifact_store import unasked_lines
    from lethe.provenance.history import skipped_lines, uncommitted_lock

    said = [*skipped_lines(history), *moved, *unasked_lines(store)]
    if uncommitted_lock(history):
        said.append("the current dvc.lock is in no commit and was ignored; git commit dvc.lock reports")
    return said

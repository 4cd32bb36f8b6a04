"""Whether every artifact of a chain is still what dvc.lock says: every available copy is hashed again."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from os.path import samefile
from pathlib import Path
from typing import Any, NamedTuple

from lethe.custody.plain_data import json_object, text_if_there
from lethe.gate.criteria import DESCRIPTIONS, JUDGED, Criterion, GateParams, Result, bound_of, criteria, metric, verdict
from lethe.provenance.artifact_store import Store, cached, manifest, read_file, remotes_with
from lethe.provenance.code import md5s_at
from lethe.provenance.fingerprint import bytes_md5, md5_of, path_md5
from lethe.provenance.history import History, Lock, params_of, recorded, unreadable
from lethe.provenance.lineage import CORPUS, GATE, MADE, Link
from lethe.provenance.verify import sha256_of

EQUAL, DIFFERENT = "present and equal", "present and different"
REMOTE, GONE = "missing here, in remote", "gone"
NAMED = {  # what a model's provenance.json calls its inputs
    "corpus": CORPUS,
    "dictionary": "data/dictionary.csv",
    "labels": "data/labels.parquet",
    "baseline": "models/baseline",
    "suppressed": "models/suppressed",
}


SHARED = ("memorisation_excess", "trivia_excess", "attack_excess", "forget_quality", "privleak")  # by share_left
OWN = "the model"  # that is asked about
SINCE = {"shares"}  # what reports/gate.json did not say before
Measured = tuple[Mapping[str, Any], Lock]


class Rule(NamedTuple):
    """How a criterion was judged. allowed: what the reports allow; None: reports/gate.json says, else the limit."""

    bound: str
    limit: Any
    allowed: Any


class Status(NamedTuple):
    """An artifact, the md5 it should have, its state, and where it was found or how it differs."""

    path: str
    md5: str
    state: str
    said: str


def rehash(history: History, store: Store, links: Iterable[Link]) -> list[Status]:
    """The state of every artifact of the chain."""
    text = text_if_there(history.project.folder / "dvc.lock")
    entries = () if unreadable(text) else recorded(text).values()
    expected = {path: md5 for entry in entries for path, md5 in entry.deps.items()}
    # after a part of the pipeline a later stage's dep is older than what the folder holds
    expected |= {path: md5 for entry in entries for path, md5 in entry.outs.items()}
    return [status_of(history, store, link, expected.get(link.path) == link.md5) for link in links]


def status_of(history: History, store: Store, link: Link, expected: bool) -> Status:
    """The state of one artifact. expected: the project's folder should hold this version of it."""
    here = [in_cache(store, link.md5), in_folder(history, store, link, expected), in_git(history, link)]
    different = [said for state, said in here if state == DIFFERENT]
    if different:
        return Status(link.path, link.md5, DIFFERENT, "; ".join(different))
    equal = [said for state, said in here if state == EQUAL]
    if equal:
        return Status(link.path, link.md5, EQUAL, ", ".join(equal))
    names = whole_in(store, link.md5)
    if names:
        return Status(link.path, link.md5, REMOTE, f"{', '.join(names)}; dvc pull or dvc fetch gets it")
    return Status(link.path, link.md5, GONE, next((said for _, said in here if said), ""))


def in_cache(store: Store, md5: str) -> tuple[str, str]:
    """(state or "", words) of the object in the cache; of a folder, of each of its files."""
    path = cached(store, md5)
    if not path.exists():
        return "", ""
    if (found := md5_of(path)) != md5.removesuffix(".dir"):
        return DIFFERENT, f"cache: md5 {found}"
    if not md5.endswith(".dir"):
        return EQUAL, "cache"
    files = manifest(store, md5) or {}
    states = {name: in_cache(store, file_md5)[0] for name, file_md5 in files.items()}
    changed = [name for name, state in states.items() if state == DIFFERENT]
    if changed:
        return DIFFERENT, f"cache: {', '.join(changed)}"
    absent = sum(not state for state in states.values())
    return (EQUAL, "cache") if not absent else ("", f"{absent} of {len(files)} files not in the cache")


def in_folder(history: History, store: Store, link: Link, expected: bool) -> tuple[str, str]:
    """(state or "", words) of the project's folder; another version matters only if dvc.lock names this one."""
    path, copy = history.project.folder / link.path, cached(store, link.md5)
    if not path.exists() or (path.is_file() and copy.exists() and samefile(path, copy)):
        return "", ""
    found = path_md5(path)
    if found == link.md5:
        return EQUAL, "folder"
    return (DIFFERENT, f"folder: md5 {found}") if expected else ("", "the folder holds another version")


def in_git(history: History, link: Link) -> tuple[str, str]:
    """(state or "", words) of an input in the commit that recorded it."""
    if link.stage is not None:
        return "", ""
    commit = history.locks[link.lock].commits[0].id
    found = md5s_at(history, commit, {link.path: link.md5}).get(link.path)
    return (EQUAL, f"git {commit[:10]}") if found == link.md5 else ("", "")


def whole_in(store: Store, md5: str) -> list[str]:
    """The remotes that hold the object and, of a folder, every file of it that the cache has not."""
    names = list(remotes_with(store, md5))
    files = manifest(store, md5) if md5.endswith(".dir") else {}
    if files is None:
        return []
    for file_md5 in files.values():
        if not cached(store, file_md5).exists():
            names = [name for name in names if name in remotes_with(store, file_md5)]
    return names


def code_status(code: Mapping[str, str], commit: str, differing: Iterable[str]) -> Status:
    """One line for the code that made the chain: git holds it, or no commit does."""
    digest = bytes_md5(json.dumps(sorted(code.items())).encode())
    what = f"code of {len(code)} files"
    if commit:
        return Status(what, digest, EQUAL, f"git {commit[:10]}")
    return Status(what, digest, GONE, f"no commit has all of it: {', '.join(differing)}")


def report_statuses(reports: Mapping[str, str], vouched: Iterable[str], commit: str) -> list[Status]:
    """One line per report whose hash is in dvc.lock and whose bytes are in git."""
    return [
        Status(path, md5, EQUAL, f"git {commit[:10]}")
        if path in set(vouched)
        else Status(path, md5, DIFFERENT, f"git {commit[:10]}: other bytes than dvc.lock recorded, or none")
        for path, md5 in sorted(reports.items())
    ]


# Whether the records agree with each other


def cross_checks(
    history: History, store: Store, links: list[Link], own: Mapping[str, Any], measured: Measured, deep: bool
) -> list[Status]:
    """A line for each statement of the model about itself, and of the reports, that can be compared with the chain.

    own: the model's provenance.json. measured: its reports and the dvc.lock that records them. deep: models too, which
    takes as long as reading them. A statement about something that is not available is not compared.
    """
    metrics, lock = measured
    files = file_statuses(store, links[0], metrics) if deep else ()
    found = [*version_statuses(links), *own_statuses(history, store, links, own, OWN, deep)]
    for link in links[1:] if deep else ():
        if link.path.startswith("models/"):
            words = json_object(read_file(store, link.md5, "provenance.json") or b"")
            found += own_statuses(history, store, links, words, link.path, deep)
    return [*found, *files, *gate_statuses(metrics, lock)]


def version_statuses(links: Iterable[Link]) -> Iterator[Status]:
    """A line for each artifact that the chain has in two versions: no one run made all of it."""
    versions: dict[str, list[Link]] = {}
    for link in links:
        versions.setdefault(link.path, []).append(link)
    for path, found in versions.items():
        if len(found) > 1:
            named = ", ".join(f"{link.md5} of lock {link.lock}" for link in found)
            yield Status(f"{path} along the chain", found[0].md5, DIFFERENT, f"{len(found)} versions: {named}")
    if CORPUS in versions and len(versions[CORPUS]) == 1:
        yield Status(f"{CORPUS} along the chain", versions[CORPUS][0].md5, EQUAL, "one version for every stage")


def own_statuses(
    history: History, store: Store, links: list[Link], own: Mapping[str, Any], whose: str, deep: bool
) -> Iterator[Status]:
    """What a provenance.json says of inputs and params, compared with the chain."""
    yield from input_statuses(history, store, links, own, whose, deep)
    yield from param_statuses(history, links, own, whose)


def label(whose: str) -> str:
    """What a line of the answer calls a provenance.json."""
    return "provenance.json" if whose == OWN else f"provenance.json of {whose}"


def input_statuses(
    history: History, store: Store, links: list[Link], own: Mapping[str, Any], whose: str, deep: bool
) -> Iterator[Status]:
    """Whether the inputs that provenance.json names by sha256, the corpus first of all, are those of the chain."""
    by = f"provenance.json of {whose}"
    by_path = {link.path: link for link in links[1:]}
    named = own.get("sha256")
    for name, digest in named.items() if isinstance(named, dict) else ():
        link = by_path.get(NAMED.get(name, ""))
        if link and link.md5.endswith(".dir") and not deep:
            continue
        found = link and artifact_sha256(history, store, link)
        if link and found:
            said = f"{by} names the {name} by this sha256"
            if found != digest:
                said = f"{by} names {name} sha256 {str(digest)[:12]}, got {found[:12]}"
            yield Status(f"{link.path} by {label(whose)}", link.md5, EQUAL if found == digest else DIFFERENT, said)


def artifact_sha256(history: History, store: Store, link: Link) -> str:
    """The sha256 of an artifact of the cache or the folder, of a folder as provenance.json has it; "" if it is gone."""
    files = manifest(store, link.md5) if link.md5.endswith(".dir") else {"": link.md5}
    here = history.project.folder / link.path
    found = {}
    for name, md5 in (files or {}).items():
        copies = (cached(store, md5), here / name if name else here)
        path = next((path for path in copies if path.is_file() and md5_of(path) == md5), None)
        if path is None:
            return ""
        found[name] = sha256_of(path)
    if not link.md5.endswith(".dir"):
        return found.get("", "")
    lines = "".join(f"{found[name]}  {name}\n" for name in sorted(found, key=Path))
    return hashlib.sha256(lines.encode()).hexdigest() if found else ""


def param_statuses(history: History, links: list[Link], own: Mapping[str, Any], whose: str) -> Iterator[Status]:
    """Whether the params that provenance.json names are those of dvc.lock, stage by stage."""
    sections = own.get("params")
    locks = {link.stage: history.locks[link.lock].text for link in links if link.stage}
    for stage, section in sections.items() if isinstance(sections, dict) else ():
        recorded_params = params_of(locks[stage], stage) if stage in locks else {}
        both = recorded_params.keys() & section.keys() if isinstance(section, dict) else set()
        wrong = [name for name in sorted(both) if recorded_params[name] != section[name]]
        if both:
            said = ", ".join(f"{name} {section[name]}, in dvc.lock {recorded_params[name]}" for name in wrong)
            digest = bytes_md5(json.dumps(section, sort_keys=True, default=str).encode())
            yield Status(f"params of {stage} by {label(whose)}", digest, DIFFERENT if wrong else EQUAL, said)


def file_statuses(store: Store, model: Link, metrics: Mapping[str, Any]) -> Iterator[Status]:
    """Whether the model's files have the sha256 that the report of the stage that made it gives them."""
    report = MADE.get(str(model.stage), "")
    named = metrics.get(report, {}).get("sha256")
    files = manifest(store, model.md5) if model.md5.endswith(".dir") else None
    if not isinstance(named, dict) or not files or not model.path.startswith("models/"):
        return
    if model.stage == "finetune" and model.path == "models/checkpoints":
        return  # the report speaks of the last one, which is another folder
    there = {name: cached(store, md5) for name, md5 in files.items()}
    wrong = [name for name, path in there.items() if path.exists() and sha256_of(path) != named.get(name)]
    wrong += sorted(named.keys() - files.keys())
    said = f"{', '.join(wrong)}: another file than in {report}" if wrong else f"every file as in {report}"
    yield Status(f"{model.path} by {report}", model.md5, DIFFERENT if wrong else EQUAL, said)


def gate_statuses(metrics: Mapping[str, Any], lock: Lock) -> Iterator[Status]:
    """Whether reports/gate.json is what follows from the reports that it was made from.

    Of one from before it had results only the values are compared.
    """
    values, again = metrics.get(GATE), recomputed(metrics, gate_limits(lock))
    if not isinstance(values, dict) or again is None:
        return
    shared = [name for name in DESCRIPTIONS if name in values and name in again]
    wrong = [f"{name} {values[name]}, by its inputs {again[name]}" for name in shared
             if not same_number(values[name], again[name])]  # fmt: skip
    own = {name: again[name] for name in SINCE & again.keys()} | values
    if "results" in values and not wrong and own != again:
        differing = [name for name in sorted(own.keys() | again.keys()) if own.get(name) != again.get(name)]
        wrong = [f"{name} {own.get(name)}, by its inputs {again.get(name)}" for name in differing]
    digest = bytes_md5(json.dumps(values, sort_keys=True).encode())
    yield Status(f"{GATE} by its inputs", digest, DIFFERENT if wrong else EQUAL, ", ".join(wrong))


def unchecked(own: Mapping[str, Any], rows: Iterable[Status], metrics: Mapping[str, Any], lock: Lock) -> list[str]:
    """What could not be checked, and what no check of records can tell."""
    states: dict[str, list[str]] = {}
    for row in rows:
        states.setdefault(row.state, []).append(row.path)
    said = []
    if gone := states.get(GONE):
        said.append(f"the bytes of {', '.join(gone)}: gone, so only their recorded hash is compared")
    if remote := states.get(REMOTE):
        said.append(f"the bytes of {', '.join(remote)}: in a remote, and not fetched")
    if not own:
        said.append("what the model says of itself: its provenance.json is not available")
    if not isinstance(metrics.get(GATE), dict):
        said.append("the verdict: no reports/gate.json was recorded with the model")
    elif recomputed(metrics, gate_limits(lock)) is None:
        wanted = (f"reports/{name}.json" for name in JUDGED)
        absent = ", ".join(path for path in wanted if path not in metrics)
        said.append(f"whether the verdict follows: {absent or 'a report'} is missing or of an older form")
    said.append("that the recorded commands were run: `lethe replay --chain` repeats them")
    said.append("that the measurements are true of the weights: `lethe replay --stage evaluate` repeats one")
    return said


# The verdict


def gate_of(metrics: Mapping[str, Any], lock: Lock) -> dict[str, Any] | None:
    """The release gate's verdict and every criterion with its limit and value; None where no gate was recorded.

    The limits are those of params.yaml as the same dvc.lock recorded them. The values and results are those of
    reports/gate.json, and again those that follow from the reports it was made from, where all of these are recorded.
    What the two disagree on has not passed.
    """
    values, limits = metrics.get(GATE), gate_limits(lock)
    if not isinstance(values, dict) or not limits:
        return None
    again = judged_again(metrics, limits)
    named = {name: limit for name, limit in limits.items() if name in DESCRIPTIONS and limit is not None}
    by_name = {row.name: row for row in again or ()}
    other = None if again is None else metric(again)
    rows = [criterion(name, rule_of(name, limits, values, by_name.get(name)), values, other) for name in named]
    return {"verdict": verdict([row["result"] for row in rows]), "criteria": rows, "recomputed": again is not None}


def rule_of(name: str, limits: Mapping[str, Any], values: Mapping[str, Any], again: Criterion | None) -> Rule:
    """How the gate judged a criterion: as the reports have it, else as reports/gate.json says.

    Without a retrained model it judges the share of the baseline's that is left, by another bound and limit. One from
    before it said so is taken at its word where it states a pass that this rule gives.
    """
    if again is not None:
        return Rule(again.bound, again.limit, again.allowed)
    plain, left = Rule(bound_of(name), limits.get(name), None), limits.get("share_left")
    by_share = Rule("at most", left, left)
    shares, results = values.get("shares"), values.get("results")
    if isinstance(shares, list):
        return by_share if name in shares else plain
    stated = results.get(name) if isinstance(results, dict) else None
    old = stated == "pass" and name in SHARED and left is not None
    found = result_of(name, plain, values), result_of(name, by_share, values)
    return by_share if old and found == ("fail", "pass") else plain


def gate_limits(lock: Lock) -> dict[str, Any]:
    """The thresholds of params.yaml as a dvc.lock recorded them, {} if there are none."""
    limits = params_of(lock.text, "report").get("gate")
    return limits if isinstance(limits, dict) else {}


def recomputed(metrics: Mapping[str, Any], limits: Mapping[str, Any]) -> dict[str, Any] | None:
    """What reports/gate.json should be, from the reports that the gate judges; None if one is missing or older."""
    found = judged_again(metrics, limits)
    return None if found is None else metric(found)


def judged_again(metrics: Mapping[str, Any], limits: Mapping[str, Any]) -> list[Criterion] | None:
    """The criteria, judged by the reports; None if one is missing or older."""
    paths = [f"reports/{name}.json" for name in JUDGED]
    if not limits or not all(path in metrics for path in paths):
        return None
    try:
        gate = GateParams.model_validate({name: limits.get(name) for name in GateParams.model_fields})
        return criteria(gate, *(metrics[path] for path in paths))
    except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, IndexError):
        return None


def criterion(name: str, rule: Rule, values: Mapping[str, Any], again: Mapping[str, Any] | None) -> dict[str, Any]:
    """A criterion with its limit, its value and its result; met is None if nobody can tell.

    values: reports/gate.json; one from before it had results is judged by its limits. again: what follows from the
    reports. Where the two disagree the result is fail if either says so, else cannot tell.
    """
    value, found = values.get(name), result_of(name, rule, values)
    row: dict[str, Any] = {"name": name, "bound": rule.bound}
    if again is not None:
        other = result_of(name, rule, again)
        old = "results" not in values  # other rules judged it, but its numbers are the same
        if not same_number(value, again.get(name)) or (found != other and not old):
            row["recomputed"] = again.get(name)
            found = "fail" if "fail" in (found, other) else "cannot tell"
    met = {"pass": True, "fail": False}.get(found)
    most = allowed_of(name, rule, values)
    row |= {"allowed": most} if most != rule.limit else {}
    return {**row, "limit": rule.limit, "value": value, "met": met, "result": found}


def allowed_of(name: str, rule: Rule, values: Mapping[str, Any]) -> Any:
    """What a criterion's value is compared with: the limit, or beyond it what a reports/gate.json has as allowed."""
    if rule.allowed is not None:
        return rule.allowed
    allowed = values.get("allowed")
    return allowed.get(name, rule.limit) if isinstance(allowed, dict) else rule.limit


def result_of(name: str, rule: Rule, values: Mapping[str, Any]) -> Result:
    """A criterion's result as a reports/gate.json has it; a pass only with a number that meets what was allowed."""
    results, value, most = values.get("results"), values.get(name), allowed_of(name, rule, values)
    met = None
    if is_number(value) and is_number(most):
        met = value >= most if rule.bound == "at least" else value <= most
    judged: dict[bool | None, Result] = {None: "cannot tell", True: "pass", False: "fail"}
    stated = results.get(name) if isinstance(results, dict) else None
    return stated if stated in ("fail", "not measurable") else judged[met]


def is_number(value: Any) -> bool:
    """Whether it is a finite number; True and False are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def same_number(one: Any, other: Any) -> bool:
    """Whether two values are the same, as far as reports/gate.json rounds."""
    return one == other or (
        is_number(one) and is_number(other) and math.isclose(one, other, rel_tol=1e-5, abs_tol=1e-6)
    )

"""A certificate as a page for a person: self-contained, without a script, with the verdict in words before all else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from lethe.custody.stated import is_met, part, stated_by, verdict_words
from lethe.gate.criteria import DESCRIPTIONS
from lethe.report.html import flattened, render

TEMPLATE = Path(__file__).parent / "certificate.html.j2"
HEADLINES = {  # by the first word of the verdict; anything else is none
    "PASS": "The model passed its release gate",
    "FAIL": "The model FAILED its release gate",
    "CANNOT TELL": "It cannot be told whether the model meets its release gate",
}


def page(statement: Mapping[str, Any], keyid: str, certificate: str) -> str:
    """The page of a signed statement. certificate: the name of the file that it lies beside."""
    from lethe.provenance.verify import canonical

    predicate = statement["predicate"]
    words = verdict_words(predicate)
    status = words.split(":")[0]
    parts = {name: part(predicate, name) for name in ("model", "lock", "runDetails", "corpus", "buildDefinition")}
    build = parts["buildDefinition"]
    attacks = [row for row in part(predicate, "attacks", list) if isinstance(row, dict)]
    return render(
        TEMPLATE,
        {},
        status=status,
        headline=HEADLINES.get(status, "No release gate was recorded for this model"),
        words=words,
        stated=[row for row in stated_by(statement) if row[0] not in ("verdict", "no proof")],
        criteria=[criterion(row) for row in part(predicate, "thresholds", list) if isinstance(row, dict)],
        not_proved=part(predicate, "doesNotProve", list),
        proved=part(predicate, "proves", list),
        files=statement["subject"],
        documents=[document(row) for row in part(parts["corpus"], "documents", list)],
        tools=flattened(part(part(parts["runDetails"], "builder"), "version")),
        chain=part(build, "resolvedDependencies", list),
        params=flattened(part(build, "externalParameters")),
        metrics=flattened(part(predicate, "metrics")),
        attack_columns=list(dict.fromkeys(name for row in attacks for name in row)),
        attacks=attacks,
        keyid=keyid,
        digest=sha256(canonical(statement)).hexdigest(),
        certificate=certificate,
        whole=json.dumps(statement, indent=1, sort_keys=True, ensure_ascii=False),
    )


def criterion(row: Mapping[str, Any]) -> dict[str, Any]:
    """A criterion of the gate as a row of the table; only a number that meets its limit is met."""
    name = str(row.get("name"))
    open_ = "not measurable here" if row.get("result") == "not measurable" else "cannot tell"
    missed = row.get("met") is False or row.get("result") == "fail"
    shown = "MISSED" if missed else "met" if is_met(row) else open_
    limit = f"{row.get('bound')} {row.get('limit')}" + (f" (allowed {row['allowed']})" if "allowed" in row else "")
    again = f"; by its reports {row['recomputed']}" if "recomputed" in row else ""
    value = "none" if row.get("value") is None else f"{row['value']}{again}"
    return {"name": DESCRIPTIONS.get(name, name), "limit": limit, "value": value, "result": shown}


def document(row: Mapping[str, Any]) -> dict[str, str]:
    """A document of the corpus as a row: its side, its characters and its hash; its file if the certificate has it."""
    where = f"{row.get('file', '')}:{row.get('start')}-{row.get('end')}".removeprefix(":")
    return {
        "side": f"{row.get('side')}, {row.get('part')}",
        "where": where,
        "sha256": part(row, "digest").get("sha256"),
    }

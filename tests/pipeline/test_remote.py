"""A remote in earnest: every artifact pushed to an S3 bucket, pulled elsewhere, interrupted, and tampered with."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests import tiny
from tests.pipeline.test_repro import STAGES, ran

pytestmark = pytest.mark.slow


def with_remote(project: Path, bucket: Any) -> Path:
    """The project with the bucket as its default remote, as README says to set one up."""
    tiny.dvc(project, "remote", "add", "--default", "box", "s3://artifacts/lethe")
    tiny.dvc(project, "remote", "modify", "box", "endpointurl", bucket.meta.client.meta.endpoint_url)
    tiny.dvc(project, "remote", "modify", "box", "verify", "true")
    tiny.commit(project, "a remote")
    return project


def stored(bucket: Any) -> dict[str, bytes]:
    """{md5: content} of every object in the bucket."""
    keys = {item.key: item for item in bucket.objects.all() if "/runs/" not in item.key}
    return {"".join(key.split("/")[-2:]): item.get()["Body"].read() for key, item in keys.items()}


def artifacts(project: Path) -> set[str]:
    """The md5 of every object that a remote should hold: all of the cache but the reports, which are in git."""
    reports = {md5 for out, md5 in tiny.hashes(project).items() if re.fullmatch(r"reports/.*\.(json|csv)", out)}
    return {path.parent.name + path.name for path in (project / ".dvc/cache/files/md5").glob("??/*")} - reports


def assert_whole(bucket: Any, project: Path) -> None:
    """Every object has the bytes of its name, and none is missing."""
    held = stored(bucket)
    assert all(hashlib.md5(content).hexdigest() == md5.removesuffix(".dir") for md5, content in held.items())
    assert set(held) == artifacts(project)


def test_a_clean_clone_has_everything_from_the_bucket_and_trains_nothing(
    copy: Path, bucket: Any, tmp_path: Path
) -> None:
    project = with_remote(copy, bucket)
    tiny.dvc(project, "push")
    assert_whole(bucket, project)
    elsewhere = tiny.clone(project, tmp_path / "elsewhere")
    tiny.dvc(elsewhere, "pull")
    output = tiny.dvc(elsewhere, "repro")
    assert ran(output) == []
    assert re.findall(r"^Stage '(\w+)' didn't change, skipping", output, re.MULTILINE) == STAGES
    assert tiny.hashes(elsewhere) == tiny.hashes(project)
    assert (elsewhere / "models/unlearned/model.safetensors").read_bytes() == (
        project / "models/unlearned/model.safetensors"
    ).read_bytes()


def test_an_interrupted_push_goes_on_where_it_stopped(copy: Path, bucket: Any) -> None:
    project = with_remote(copy, bucket)
    push = tiny.start(project, "dvc", "push", "--jobs", "1")
    while len(list(bucket.objects.all())) < 3:
        assert push.poll() is None, push.communicate()[0]
        time.sleep(0.01)
    os.kill(push.pid, signal.SIGKILL)
    push.communicate()
    before = stored(bucket)
    everything = len(artifacts(project))
    assert 0 < len(before) < everything  # it was stopped halfway
    again = tiny.dvc(project, "push")
    pushed = re.search(r"^(\d+) files? pushed", again, re.MULTILINE)
    assert pushed, again
    assert int(pushed[1]) <= everything - len(before) + 1  # what was there is not sent again
    assert_whole(bucket, project)
    assert tiny.dvc(project, "push").strip() == "Everything is up to date."


def test_a_tampered_object_is_noticed(copy: Path, bucket: Any, tmp_path: Path) -> None:
    project = with_remote(copy, bucket)
    tiny.dvc(project, "push")
    md5 = tiny.hashes(project)["data/labels.txt"]
    key = next(item.key for item in bucket.objects.all() if item.key.endswith(f"{md5[:2]}/{md5[2:]}"))
    bucket.put_object(Key=key, Body=b"other labels\n")

    elsewhere = tiny.clone(project, tmp_path / "elsewhere")
    pulled = tiny.run(elsewhere, "dvc", "pull", "data/labels.txt")
    assert pulled.returncode != 0
    assert not (elsewhere / "data/labels.txt").exists()

    tiny.dvc(elsewhere, "remote", "modify", "box", "verify", "false")  # what `lethe doctor` warns of
    believed = tiny.run(elsewhere, "dvc", "pull", "data/labels.txt")
    assert (believed.returncode, (elsewhere / "data/labels.txt").read_bytes()) == (0, b"other labels\n")

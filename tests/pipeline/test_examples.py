"""The examples for clusters and clouds: scripts that a shell reads, with names that exist here."""

from __future__ import annotations

import re
import subprocess

import yaml

from lethe import launch
from lethe.preflight.presets import presets
from tools.structure import ROOT

SLURM, SKY = ROOT / "examples/slurm-2x8gpu.sbatch", ROOT / "examples/skypilot.yaml"


def test_a_page_names_every_example() -> None:
    page = (ROOT / "docs/clusters.md").read_text(encoding="utf-8")
    assert {path.name for path in (ROOT / "examples").iterdir()} == {SLURM.name, SKY.name}
    assert SLURM.name in page
    assert SKY.name in page


def test_bash_reads_them() -> None:
    task = yaml.safe_load(SKY.read_text(encoding="utf-8"))
    for script in (SLURM.read_text(encoding="utf-8"), task["setup"], task["run"]):
        done = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True)
        assert (done.returncode, done.stderr) == (0, "")


def test_the_batch_job_asks_for_what_its_configuration_needs() -> None:
    text = SLURM.read_text(encoding="utf-8")
    found = dict(re.findall(r"^#SBATCH --([\w-]+)=(\S+)", text, re.MULTILINE))
    set_here = dict(re.findall(r"^export (\w+)=\"?(.+?)\"?$", text, re.MULTILINE))
    config = yaml.safe_load((ROOT / set_here["ACCELERATE_CONFIG_FILE"]).read_text(encoding="utf-8"))
    machines, each = int(found["nodes"]), int(found["gpus-per-node"])
    assert (machines, machines * each) == (config["num_machines"], config["num_processes"])
    assert found["ntasks-per-node"] == "1"  # the launcher, which starts a process for each GPU
    assert set_here[launch.MACHINES].startswith("srun ")
    assert "--ntasks-per-node=1" in set_here[launch.MACHINES]


def test_the_cloud_task_is_one_that_skypilot_reads() -> None:
    task = yaml.safe_load(SKY.read_text(encoding="utf-8"))
    assert set(task) == {"name", "resources", "workdir", "envs", "setup", "run"}  # of its schema, as all of these are
    assert all(isinstance(value, str) for value in task["envs"].values())
    _, count = task["resources"]["accelerators"].split(":")
    config = yaml.safe_load((ROOT / task["envs"]["ACCELERATE_CONFIG_FILE"]).read_text(encoding="utf-8"))
    assert (config["num_machines"], config["num_processes"]) == (1, int(count))
    assert task["envs"]["PRESET"] in presets(ROOT / "presets")

"""The attacks on every model: on the CPU several models at a time, in processes with a share of the cores each.

What an attack computes is small for a small model, and two threads then wait for each other longer than they save.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from lethe.attacks.results import Finding
from lethe.attacks.suite import ATTACKS, UNATTACKED, Material
from lethe.core.side_by_side import side_by_side
from lethe.evaluation.model_set import loaded
from lethe.models.device import choose_device, prepare
from lethe.models.distributed import processes
from lethe.models.folders import weight_count

SMALL = 200_000  # weights: all models of fewer are attacked before another process has started
BASE = 2_000_000_000  # bytes of a process that attacks models of a million weights, at its peak
COPIES = 6  # of larger weights, float32: the model, what it is restored from, gradients, two moments, one to spare


class Shares(NamedTuple):
    """How the models are shared out. Only `threads` changes the last bits of a number."""

    processes: int
    threads: int  # of each
    at_once: int  # of the processes


def attack_all(folders: Mapping[str, Path], found: Material, wanted: Sequence[str], kind: str) -> list[Finding]:
    """The findings of the wanted attacks, model by model. kind: of the device, cpu or cuda."""
    import psutil

    weights = max(map(weight_count, folders.values()))
    alone = kind != "cpu" or processes() > 1 or weights < SMALL
    memory = psutil.virtual_memory()
    many, threads, at_once = shares(
        len(folders), 1 if alone else len(os.sched_getaffinity(0)), weights, memory.total, memory.available
    )
    if many == 1:
        return attack_these(folders, found, wanted)
    groups = [dict(list(folders.items())[number::many]) for number in range(many)]
    each = [(own, replace(found, work=found.work / next(iter(own))), wanted, threads) for own in groups]
    parts = side_by_side(attack_these, each, at_once, [f"attack on {', '.join(own)}" for own in groups])
    place = {name: number for number, name in enumerate(folders)}
    return sorted((finding for part in parts for finding in part), key=lambda finding: place[finding.model])


def shares(models: int, cores: int, weights: int, memory: int, available: int) -> Shares:
    """How so many models of so many weights are shared out over the cores of this machine, one process at least.

    memory: bytes of the machine; with those available now, processes only wait for each other: the threads of each are
    the same in every run.
    """
    bytes_each = BASE + 4 * COPIES * weights
    many = max(1, min(models, cores, memory // bytes_each))
    return Shares(many, max(1, cores // many), max(1, min(many, available // bytes_each)))


def attack_these(
    folders: Mapping[str, Path], found: Material, wanted: Sequence[str], threads: int | None = None
) -> list[Finding]:
    """The findings on these models, one after the other. threads: of a process of its own, None: in the stage's."""
    from tqdm import tqdm

    params, findings = found.params, list[Finding]()
    device = prepare(params.device, threads) if threads else choose_device(params.device)
    with tqdm(total=len(folders) * (1 + len(wanted)), desc="attack", unit="attack") as bar:
        for name, model in loaded(folders, device, params.training.weights):
            for attack in (UNATTACKED, *wanted):
                bar.set_description(f"attack: {attack} on {name}")
                findings += [
                    Finding(attack, setting, name, metric, values)
                    for setting, metric, values in ATTACKS[attack](model, found)
                ]
                bar.update()
    return findings

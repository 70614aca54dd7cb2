"""What the machine offers: device, cores, free memory, number formats it computes at full speed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .config import DeviceChoice
from .errors import ParameterError

DeviceKind = Literal["cpu", "cuda"]


@dataclass(frozen=True, slots=True)
class Machine:
    """Facts about one device, in bytes and counts."""

    device: DeviceKind
    name: str
    cores: int
    total_memory: int
    free_memory: int
    fast_bf16: bool

    @classmethod
    def probe(cls, choice: DeviceChoice = "auto") -> Machine:
        """Raises ParameterError when a GPU is asked for and there is none."""
        import torch

        has_gpu = torch.cuda.is_available()
        if choice == "cuda" and not has_gpu:
            raise ParameterError("device cuda: torch sees no NVIDIA GPU here; use device cpu or auto", "device")
        if has_gpu and choice != "cpu":
            free, total = torch.cuda.mem_get_info()
            return cls("cuda", torch.cuda.get_device_name(), physical_cores(), total, free, True)
        total, free = _cpu_memory()
        return cls("cpu", _cpu_name(), physical_cores(), total, free, _cpu_has_bf16())


def physical_cores() -> int:
    """Cores this process may run on, hyper-threads of one core counted once."""
    try:
        allowed = os.sched_getaffinity(0)
    except AttributeError:  # not Linux
        return os.cpu_count() or 1
    cores = {_core_of(cpu) for cpu in allowed}
    return max(1, min(len(cores), _cgroup_cpus() or len(cores)))


def _core_of(cpu: int) -> str:
    siblings = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
    try:
        return siblings.read_text().strip()
    except OSError:
        return str(cpu)


def _cgroup_cpus() -> int | None:
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return None if quota == "max" else max(1, int(quota) // int(period))
    except (OSError, ValueError):
        return None


def _cpu_memory() -> tuple[int, int]:
    """(total, free) bytes; a container's limit counts as the total."""
    facts = {}
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            key, _, value = line.partition(":")
            facts[key] = int(value.split()[0]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    if "MemTotal" not in facts:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return total, total // 2
    total, free = facts["MemTotal"], facts.get("MemAvailable", facts["MemTotal"] // 2)
    try:
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text())
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
        total, free = min(total, limit), min(free, max(0, limit - used))
    except (OSError, ValueError):
        pass
    return total, free


def _cpu_info() -> str:
    try:
        return Path("/proc/cpuinfo").read_text()
    except OSError:
        return ""


def _cpu_name() -> str:
    for line in _cpu_info().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "CPU"


def _cpu_has_bf16() -> bool:
    info = _cpu_info()
    return "avx512_bf16" in info or "amx_bf16" in info or " bf16" in info

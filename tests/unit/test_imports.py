"""Which modules may import which, and what an import costs."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT).stdout


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("maskq", "torch numba scipy skimage celery kombu PIL imagecodecs pycocotools matplotlib"),
        ("maskq.cli.app", "torch numba scipy skimage celery kombu PIL imagecodecs pycocotools matplotlib"),
        ("maskq.cli.result_files", "torch"),
        ("maskq.cli.run_output", "torch"),
        ("maskq.workers.local.stack", "torch"),
        ("maskq.workers.cluster", "torch"),
    ],
)
def test_a_light_module_stays_light(module: str, heavy: str) -> None:
    loaded = run(f"import sys, {module}; print(*sys.modules)").split()
    assert module in loaded
    assert set(loaded) & set(heavy.split()) == set()


def test_importing_maskq_takes_less_than_half_a_second() -> None:
    assert _cpu_s("import maskq") - _cpu_s("pass") < 0.5


def _cpu_s(code: str) -> float:
    """CPU seconds that an interpreter takes for the code: the best of five, because the machine may be busy."""
    costs = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        run(code)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        costs.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    return min(costs)


def test_imports_run_one_way() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    result = subprocess.run([lint], capture_output=True, text=True, cwd=ROOT, check=False)
    assert result.returncode == 0, result.stdout + result.stderr

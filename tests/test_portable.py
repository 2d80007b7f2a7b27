"""The numeric tests with the instruction sets of other processors, one after the other.

A processor with more of them plays one with fewer, for PyTorch's kernels, MKL's and oneDNN's each
obey a variable. What a variable did is asked of the libraries in the process that runs the tests:
MKL takes MKL_ENABLE_INSTRUCTIONS on Intel's processors alone, and ignores it elsewhere in silence;
MKL_CBWR=COMPATIBLE, which is SSE2, it takes everywhere.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NUMERIC = ("tests/engine", "tests/methods", "tests/stages")

# Says which kernels compute in this process, and then is pytest.
CHILD = """
import sys, pytest, torch
from torch.backends import cpu, mkl, mkldnn
print("aten:", cpu.get_cpu_capability())
with mkl.verbose(mkl.VERBOSE_ON):
    torch.ones(64, 64) @ torch.ones(64, 64)
with mkldnn.verbose(mkldnn.VERBOSE_ON):
    torch.nn.functional.conv2d(torch.ones(8, 16, 32, 32), torch.ones(16, 16, 3, 3))
sys.exit(pytest.main(sys.argv[1:]))
"""

# A line that says so, of each setting.
EFFECTS = {
    "ATEN_CPU_CAPABILITY=default": r"^aten: DEFAULT$",
    "ATEN_CPU_CAPABILITY=avx2": r"^aten: AVX2$",
    "MKL_CBWR=COMPATIBLE": r"^MKL_VERBOSE SGEMM.* CNR:COMPATIBLE ",
    "MKL_ENABLE_INSTRUCTIONS=SSE4_2": r"^MKL_VERBOSE .*SSE4\.2.* enabled processors",
    "MKL_ENABLE_INSTRUCTIONS=AVX2": r"^MKL_VERBOSE .*(AVX2|Extensions 2\b).* enabled processors",
    "ONEDNN_MAX_CPU_ISA=SSE41": r"^onednn_verbose,.*,convolution,jit:sse41,",
    "ONEDNN_MAX_CPU_ISA=AVX2": r"^onednn_verbose,.*,convolution,jit:avx2,",
}
RESTRICTED = {
    "no AVX-512":
        "ATEN_CPU_CAPABILITY=avx2 MKL_ENABLE_INSTRUCTIONS=AVX2 ONEDNN_MAX_CPU_ISA=AVX2",
    "no AVX":
        "ATEN_CPU_CAPABILITY=default MKL_ENABLE_INSTRUCTIONS=SSE4_2 ONEDNN_MAX_CPU_ISA=SSE41",
    "the least of all":
        "ATEN_CPU_CAPABILITY=default MKL_CBWR=COMPATIBLE ONEDNN_MAX_CPU_ISA=SSE41",
    "the least of MKL": "MKL_CBWR=COMPATIBLE",
}  # fmt: skip


def ignored(setting: str) -> bool:
    intel = "GenuineIntel" in Path("/proc/cpuinfo").read_text()
    return setting.startswith("MKL_ENABLE_INSTRUCTIONS") and not intel


@pytest.mark.slow  # some minutes each
@pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"), reason="these sets are of x86-64"
)
@pytest.mark.parametrize("name", RESTRICTED)
def test_the_numeric_tests_pass_with_fewer_instructions(name: str) -> None:
    settings = RESTRICTED[name].split()
    variables = {setting.partition("=")[0] for setting in EFFECTS}
    kept = {k: v for k, v in os.environ.items() if k not in variables and "PYTEST" not in k}
    done = subprocess.run(
        [sys.executable, "-c", CHILD, "-p", "no:cacheprovider", *NUMERIC], cwd=ROOT,
        env=kept | dict(setting.split("=") for setting in settings) | {"OMP_NUM_THREADS": "1"},
        capture_output=True, text=True,
    )  # fmt: skip
    said = done.stdout
    for setting in settings:
        if not ignored(setting):
            assert re.search(EFFECTS[setting], said, re.MULTILINE), f"{setting}: {said[:2000]}"
    assert done.returncode == 0, f"{said[-6000:]}\n{done.stderr[-2000:]}"
    print(f"{name}: {said.splitlines()[-1]}")
    assert int(re.findall(r"^(\d+) passed", said, re.MULTILINE)[-1]) > 1000

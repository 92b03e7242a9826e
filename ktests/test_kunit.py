# SPDX-License-Identifier: GPL-2.0
"""The module's own unit tests: KUnit runs them when it is loaded.

Needs a kernel with KUnit that was started with kunit.enable=1 kunit.autorun=1 (make test-debug).
"""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from kt import module
from kt.kmsg import KernelLog

pytestmark = pytest.mark.needs("/proc/cmdline", "kunit.enable=1")

# A suite each for what is pure, and for what needs a kernel.
SUITES = {
    "addr",
    "ah",
    "checksum",
    "data",
    "entry",
    "esp",
    "hints",
    "ident",
    "ike_header",
    "ike_payload",
    "ike_state",
    "ipv6",
    "isakmp",
    "merged",
    "natt",
    "proto",
    "quote",
    "rcu",
    "sched",
    "sched_cost",
    "sched_fo",
    "sched_hash",
    "sched_lc",
    "sched_mh",
    "sched_nq",
    "sched_ovf",
    "sched_rr",
    "sched_sed",
    "sched_sh",
    "sched_slots",
    "sched_twos",
    "sched_wlc",
    "sched_wrr",
    "service",
    "siphash",
    "soft",
    "spi",
    "table",
    "tcp",
}


def test_every_suite_passes(record_property: Callable[[str, object], None]) -> None:
    module.unload()
    kernel_log = KernelLog()
    module.load()
    log = "\n".join(kernel_log.news())
    cases = re.findall(r"\]\s{2,}(ok|not ok) \d+ (\w+)", log)
    failed = [name for verdict, name in cases if verdict != "ok"]
    assert not failed, log[-20000:]
    suites = set(re.findall(r"\] ok \d+ ipvs_ipsec_(\w+)$", log, re.MULTILINE))
    assert suites == SUITES
    record_property("ran", f"{len(cases)} unit tests of {len(suites)} suites")

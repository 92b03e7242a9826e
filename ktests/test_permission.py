# SPDX-License-Identifier: GPL-2.0
"""Who may configure: CAP_NET_ADMIN in the user namespace that owns the network namespace.

one namespace, "director", without links; tried as root without the
capability, as nobody, and as root of another user namespace
"""

from __future__ import annotations

import errno
import sys
from pathlib import Path

from kt.genl import Genl
from kt.net import Ns

VIP, VIP2, RIP, RIP2 = "198.51.100.1", "198.51.100.2", "10.2.1.1", "10.2.2.1"

ATTEMPT = """
import sys
sys.path.insert(0, {path!r})
from kt.genl import Genl, Refused
genl = Genl()
try:
    {action}
except Refused as refused:
    print(refused.errno)
else:
    print(0)
"""
FIRST_ARGUMENTS = {
    "service-new": f"address={VIP2!r}",
    "service-set": f"address={VIP!r}, scheduler='rr'",
    "service-del": f"address={VIP!r}",
    "server-new": f"service={VIP!r}, address={RIP2!r}",
    "server-set": f"service={VIP!r}, address={RIP!r}, weight=0",
    "server-del": f"service={VIP!r}, address={RIP!r}",
    "entry-flush": "",
    "fastpath-new": "ifindex=1",
    "fastpath-del": "ifindex=1",
    "flush": "",
}


def attempt(director: Ns, *before: str, action: str) -> int:
    """Try something as someone else; the errno, 0 when it was done."""
    script = ATTEMPT.format(path=str(Path(__file__).parent), action=action)
    done = director.run(*before, sys.executable, "-c", script)
    return int(done.stdout.strip())


def test_without_cap_net_admin_nothing_can_be_changed(director: Ns) -> None:
    with Genl(director) as genl:
        genl.do("service-new", address=VIP)
        genl.do("server-new", service=VIP, address=RIP)
        before = genl.everything()
        every = "; ".join(
            f"tried.append(number(genl, {op!r}, dict({values})))"
            for op, values in FIRST_ARGUMENTS.items()
        )
        script = (
            "tried = []\n    def number(genl, op, values):\n        try: genl.do(op, **values)\n"
            "        except Refused as refused: return refused.errno\n        return 0\n"
            f"    {every}\n    print(*tried); raise SystemExit"
        )
        for someone in (
            ("setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin"),
            ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"),
            ("unshare", "--user", "--map-root-user"),  # root there, but not over this namespace
        ):
            text = director.run(
                *someone,
                sys.executable,
                "-c",
                ATTEMPT.format(path=str(Path(__file__).parent), action=script),
            ).stdout
            assert text.split() == [str(errno.EPERM)] * len(FIRST_ARGUMENTS), (someone, text)
            assert genl.everything() == before


def test_the_command_says_what_is_needed(director: Ns) -> None:
    done = director.run(
        "setpriv",
        "--bounding-set",
        "-net_admin",
        "--inh-caps",
        "-net_admin",
        "ipvs-ipsec",
        "service",
        "add",
        VIP,
        check=False,
    )
    assert done.returncode == 1
    assert "not permitted" in done.stderr


def test_root_of_a_user_namespace_configures_its_own_network(director: Ns) -> None:
    script = "genl.do('service-new', address='198.51.100.1'); print(len(genl.dump('service-get')))"
    done = director.run(
        "unshare",
        "--user",
        "--map-root-user",
        "--net",
        sys.executable,
        "-c",
        ATTEMPT.format(path=str(Path(__file__).parent), action=script),
    )
    assert done.stdout.split() == ["1", "0"]
    with Genl(director) as genl:
        assert genl.everything() == ([], [])

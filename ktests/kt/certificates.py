# SPDX-License-Identifier: GPL-2.0
"""Authorities and certificates, made by strongSwan's pki; large RSA keys by openssl."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kt.net import sh


@dataclass(frozen=True)
class Identified:
    """A certificate and its key."""

    certificate: Path
    key: Path


def make_key(file: Path, rsa: int = 0) -> Path:
    """A key of ECDSA, or of RSA with so many bits."""
    if rsa:
        # Four primes are found in a fraction of the time that two take, which are twice as long.
        sh("openssl", "genrsa", "-primes", "4", "-out", file, str(rsa), timeout=300)
    else:
        words = ("pki", "--gen", "--type", "ecdsa", "--size", "256", "--outform", "pem")
        file.write_text(sh(*words).stdout, encoding="ascii")
    return file


def root(key: Path, name: str) -> Identified:
    """An authority that vouches for itself."""
    words = ("--self", "--ca", "--in", key, "--type", "priv", "--dn", f"CN={name}")
    return Identified(_certificate(key.parent / f"{name}.pem", *words), key)


def issue(by: Identified, key: Path, file: Path, name: str, *options: str) -> Identified:
    """A certificate for a name; with `--ca` it is an authority's."""
    words = ("--issue", "--in", key, "--type", "priv", "--dn", f"CN={name}", "--san", name)
    authority = ("--cacert", by.certificate, "--cakey", by.key)
    return Identified(_certificate(file, *words, *authority, *options), key)


def _certificate(file: Path, *words: str | Path) -> Path:
    file.write_text(sh("pki", *words, "--outform", "pem").stdout, encoding="ascii")
    return file

# SPDX-License-Identifier: GPL-2.0
"""Packages that the guest's root has not installed, but unpacked in a folder of /opt."""

from __future__ import annotations

from kt.net import sh

LIBRESWAN, STRONGSWAN = "/opt/libreswan", "/opt/strongswan"


def over_usr(folder: str) -> str:
    """The command that lays a folder's usr over /usr, to be run in a mount namespace of its own."""
    sh("modprobe", "overlay")
    return f"mount -t overlay -o ro,lowerdir={folder}/usr:/usr overlay /usr"

# SPDX-License-Identifier: GPL-2.0
"""What a packet costs: the pieces of bench.py."""

"""The day of the catalogue's tests, and the least of a catalogue that a test can add to."""

from __future__ import annotations

from datetime import date

ON = date(2026, 11, 26)

BASE = """
[[sources]]
id = "list"
publisher = "Lists"
title = "A list"
kind = "list"
date = 2026-07-01
seen = 2026-11-01

[[families]]
id = "f"
name = "F"

[[models]]
id = "m"
name = "M"
family = "f"

[[providers]]
id = "p"
name = "P"

[[routes]]
id = "p/m"
model = "m"
provider = "p"
"""

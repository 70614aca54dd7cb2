"""Connections to addresses a caller chose: all of them are opened here, through one guard."""

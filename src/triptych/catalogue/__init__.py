"""Models x providers x prices: what is known of where LLaVA and Mixtral run and what that costs, with its sources.

`load` reads it, `Catalogue` answers by name, `cheapest` and `changes` compute. Nothing here knows servers or models'
weights, and only `download` opens a connection, to the address that an operator gave it.
"""

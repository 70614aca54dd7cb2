"""Who may use the server, for how much, and what they used."""

"""This dialect's routes in words, for the reference."""

from __future__ import annotations

from ....operations import Group
from . import files, models, predictions

GROUP = Group(
    "Replicate",
    "Predictions that are kept and run to their end, for the clients of replicate.com. Set their base URL to this "
    "server's address, with `/v1` behind it or without. Only the key that made a prediction or a file sees it.",
    (*predictions.OPERATIONS, *models.MODELS, *files.OPERATIONS, *models.AROUND),
    {**predictions.FIELDS, **files.FIELDS},
)

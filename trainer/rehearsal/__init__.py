"""A training tried for a few steps: killed, resumed, compared bit by bit, and the whole run forecast from it."""

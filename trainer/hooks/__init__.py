"""Hooks for other people's loops: `lightning` and `huggingface` hold a `CkptopCallback` each.

Nothing of ckptop's own trainer is loaded by them, and each loads its library only when it is imported itself.
"""

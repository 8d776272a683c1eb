"""`python -m ckptop.cli`: what a recorded command starts, without needing a script on PATH."""

from ckptop.cli.main import main

main()

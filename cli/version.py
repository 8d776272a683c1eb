"""What `ckptop --version` says, and where the package's own version is read from when it is built.

A constant of ours, because looking it up in the installed package's metadata costs more than all of click.
"""

VERSION = "0.1.0"

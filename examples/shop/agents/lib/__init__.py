"""What the shop's agents share."""

import sys

# The folder may belong to somebody else, or be looked at by somebody.
sys.dont_write_bytecode = True

"""Sans-IO core of flotta-p2p: identities, addresses, wire format, signing, plans and state machines.

Nothing in this package opens a socket or a file, reads a clock, draws a random number or starts a thread.
"""

"""`flotta-p2p demo`: three real nodes on this machine answer a signed question and leave no trace."""

"""`flotta-p2p doctor`: looks at a node, whether it runs or not, changes nothing, and says what to do.

`examine` runs the checks. Each is a small function of `Patient` in a module of its subject: `folder`, `secrets`,
`storage`, `network`, `company` (peers, sources, jobs), `machine`.
"""

"""Laboratory workflows: small programs joined by named inputs and outputs. Nothing of it is written yet."""

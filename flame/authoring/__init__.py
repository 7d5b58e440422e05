"""From node files and a workflow file to the graph of a run: schemas, generated classes, wiring, parameters."""

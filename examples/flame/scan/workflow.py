"""A scan over a resonance that drifts, with error correction and feedback."""

from flame_nodes import Apparatus, Correction, Estimate, Feedback, Scan, Surroundings

from flame import Workflow

START_MHZ = 100.0

wf = Workflow("Scan with feedback", "Follows a resonance while it is measured")

scan = Scan("scan", start=START_MHZ)
surroundings = Surroundings("surroundings")
apparatus = Apparatus("apparatus", setting=scan.o.setting, field=surroundings.o.field)  # MHz to Hz, mG to G
correction = Correction("correction", readouts=apparatus.o.readouts)
estimate = Estimate("estimate", side=scan.o.side, excited=correction.o.excited)
feedback = Feedback("feedback", off=estimate.o.off, start=START_MHZ)
scan.i.centre = feedback.o.centre  # the circle is closed

for one in (apparatus, correction, estimate, feedback):
    one.restart("on-failure", max=3, within="5min")
wf.stop_when(scan.o.finished)

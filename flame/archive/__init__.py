"""The archive of a run, one HDF5 file: permanent streams with units and times, and what ran.

    /lock/beat              the values (see `columns`); attributes unit, description, dtype, eui, lifetime, …
    /lock/beat_time         int64, ns since 1970 UTC, one for each value
    /                       attributes: id, alias, name, start, end, exits, parameters, commit, diff, sources, versions
    /@run/document          what was written down before the run started, as JSON; `result` likewise at its end
    /@run/sources/FILE      the files that ran, byte by byte
    /@run/diff …            texts that are too long for an attribute, which then says where they are

Where an output has the name that a dataset beside another one would get, that one gets further underscores; the
attributes `time`, `offsets`, `shape`, `json` and `seq` of a dataset name those beside it.
"""

from __future__ import annotations

from flame.archive.reading import Archive, Archived
from flame.archive.writing import write_archive

__all__ = ["Archive", "Archived", "write_archive"]

"""The process in which a node file runs until it registers: `python -m flame.authoring.describing_child FILE ANSWER`.

`register()` itself writes the schema to ANSWER and ends the process; what is written here is why that did not happen.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import msgspec

from flame.authoring import user_code
from flame.authoring.describing import Problem
from flame.authoring.faults import Fault, shown
from flame.control import DESCRIBE_VARIABLE
from protocol.errors import Code


def main(file: Path, answer: Path) -> None:
    os.environ[DESCRIBE_VARIABLE] = str(answer)
    try:
        user_code.run(file)
        fault = _never_registered(file, "it ends without a call of register()")
    except SystemExit as end:
        fault = _never_registered(
            file, f"it ended itself with {user_code.exit_of(end)} before register()", user_code.place(end, file)
        )
    except BaseException as error:  # the outermost frame of this process
        fault = user_code.fault_at(error, file, Code.NODE_FILE_WRONG)
    answer.write_bytes(msgspec.json.encode(Problem(fault)))
    os._exit(0)  # threads of the user's do not hold us up


def _never_registered(file: Path, sentence: str, place: str = "") -> Fault:
    step = "call register() behind the declarations, before anything else"
    return Fault(Code.NODE_FILE_WRONG.value, sentence, step, place or shown(file))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

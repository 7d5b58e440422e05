"""The one error tree.

    FlottaError
    ├── ConfigError            the operator can mend it
    ├── DeniedError            a rule of the holder, the project or the protocol says no
    ├── AddressError           an id, an EUI or a network address does not read
    ├── DataError              a table, a column or a value cannot be used
    ├── WorkflowError          an artifact, an order or a plan makes no sense
    ├── StorageError           a database, a file or a disk failed
    ├── UnreachableError       nobody answered within the limit
    └── ProtocolError          (abstract)
        ├── RemoteProtocolError    their mistake: counted, answered, never fatal
        └── LocalProtocolError     our mistake: a bug
            └── InvariantBroken    a machine found itself in a state that cannot be

Every error carries a stable `code` from `Code`, one clear sentence, and, where they are known, the node and the job
that it concerns and the next step for the person who reads it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

NEXT_STEP: Final = " Next: "  # stands between a sentence and what is advised, where an error is one text


class Code(StrEnum):
    """Stable names of failures. A name is never reused for another meaning."""

    # their input
    FRAME_MALFORMED = "frame-malformed"
    FRAME_MAGIC_UNKNOWN = "frame-magic-unknown"
    FRAME_TOO_LARGE = "frame-too-large"
    SUITE_UNKNOWN = "suite-unknown"
    TYPE_UNKNOWN = "type-unknown"
    TYPE_NOT_ALLOWED = "type-not-allowed"
    AUDIENCE_WRONG = "audience-wrong"
    SENDER_WRONG = "sender-wrong"
    KEY_WEAK = "key-weak"
    SIGNATURE_WRONG = "signature-wrong"
    TIME_OUTSIDE = "time-outside"
    REPLAYED = "replayed"
    BODY_MALFORMED = "body-malformed"
    STATEMENT_MALFORMED = "statement-malformed"
    PROOF_WRONG = "proof-wrong"
    PROJECT_UNKNOWN = "project-unknown"
    EVENT_UNEXPECTED = "event-unexpected"
    BUSY = "busy"
    REFUSED_BY_PEER = "refused-by-peer"
    # orders and tasks
    ORDER_MALFORMED = "order-malformed"
    ORDER_EXPIRED = "order-expired"
    ORDER_ALTERED = "order-altered"
    SUBMITTER_NOT_MEMBER = "submitter-not-member"
    SCHEDULER_NOT_ALLOWED = "scheduler-not-allowed"
    PLAN_OUTSIDE_ORDER = "plan-outside-order"
    TASK_NOT_DERIVED = "task-not-derived"
    EPOCH_OLD = "epoch-old"
    JOB_UNKNOWN = "job-unknown"
    JOB_ENDED = "job-ended"
    JOB_NOT_ENDED = "job-not-ended"
    JOB_REMOVED = "job-removed"
    JOB_CANCELLED = "job-cancelled"
    ALREADY_RUN = "already-run"
    HOLDERS_MISSING = "holders-missing"
    HOLDERS_GATHERING = "holders-gathering"
    HOLDER_LOST = "holder-lost"
    TASK_CRASHED = "task-crashed"
    TASK_OUT_OF_TIME = "task-out-of-time"
    TASK_OUT_OF_MEMORY = "task-out-of-memory"
    OUTCOME_UNKNOWN = "outcome-unknown"
    RESULT_TOO_LARGE = "result-too-large"
    TRANSFER_STALLED = "transfer-stalled"
    RESULT_ALTERED = "result-altered"
    RESULT_NOT_READY = "result-not-ready"
    # permission
    POLICY_DENIED = "policy-denied"
    STRANGER = "stranger"
    NODE_BANNED = "node-banned"
    NODE_WAITING = "node-waiting"
    NODE_LEFT = "node-left"
    NODE_ALONE = "node-alone"
    PROJECT_ROTATED = "project-rotated"
    INVITATION_MALFORMED = "invitation-malformed"
    INVITATION_EXPIRED = "invitation-expired"
    INVITATION_USED = "invitation-used"
    INVITATION_REVOKED = "invitation-revoked"
    # artifact and data
    ARTIFACT_MALFORMED = "artifact-malformed"
    OPERATION_UNKNOWN = "operation-unknown"
    PARAMETER_WRONG = "parameter-wrong"
    FILTER_MALFORMED = "filter-malformed"
    SOURCE_UNKNOWN = "source-unknown"
    SOURCE_MISSING = "source-missing"
    SOURCE_EMPTY = "source-empty"
    SOURCE_RAGGED = "source-ragged"
    SOURCE_ENCODING = "source-encoding"
    SOURCE_CHANGED = "source-changed"
    SOURCE_SCHEMA_CHANGED = "source-schema-changed"
    SOURCE_POLICY_UNFIT = "source-policy-unfit"
    SOURCE_UNREADABLE = "source-unreadable"
    SOURCE_TOO_LARGE = "source-too-large"
    COLUMN_UNKNOWN = "column-unknown"
    COLUMN_DUPLICATE = "column-duplicate"
    COLUMN_NOT_NUMERIC = "column-not-numeric"
    COLUMN_TYPES_DIFFER = "column-types-differ"
    VALUE_OUT_OF_RANGE = "value-out-of-range"
    # flame
    NODE_FILE_WRONG = "node-file-wrong"
    PORT_WRONG = "port-wrong"
    VALUE_WRONG = "value-wrong"
    WORKFLOW_WRONG = "workflow-wrong"
    WIRING_WRONG = "wiring-wrong"
    PARAMETER_MISSING = "parameter-missing"
    PARAMETERS_MALFORMED = "parameters-malformed"
    RUN_UNKNOWN = "run-unknown"
    RUN_IN_PROGRESS = "run-in-progress"
    RUN_FOREIGN = "run-foreign"
    RUN_CHANGED = "run-changed"
    RUN_FAILED = "run-failed"
    NOTHING_THERE = "nothing-there"
    WRITE_REFUSED = "write-refused"
    JOURNAL_DAMAGED = "journal-damaged"
    # this machine
    ADDRESS_MALFORMED = "address-malformed"
    ID_MALFORMED = "id-malformed"
    CONFIG_MALFORMED = "config-malformed"
    CONFIG_KEY_UNKNOWN = "config-key-unknown"
    CONFIG_VALUE_WRONG = "config-value-wrong"
    VARIABLE_UNSET = "variable-unset"
    TOKEN_WEAK = "token-weak"
    TOKEN_MALFORMED = "token-malformed"
    PROJECT_NAME_TAKEN = "project-name-taken"
    KEY_FILE_UNSAFE = "key-file-unsafe"
    KEY_FILE_MALFORMED = "key-file-malformed"
    PORT_TAKEN = "port-taken"
    FOLDER_LOCKED = "folder-locked"
    FOLDER_UNUSABLE = "folder-unusable"
    DISK_FULL = "disk-full"
    STORE_FULL = "store-full"
    QUOTA_REACHED = "quota-reached"
    TOO_LARGE_TO_STORE = "too-large-to-store"
    DATABASE_FAILED = "database-failed"
    DATABASE_TOO_NEW = "database-too-new"
    NODE_NOT_RUNNING = "node-not-running"
    NODE_UNREACHABLE = "node-unreachable"
    NODE_STOPPING = "node-stopping"
    PROXY_UNREACHABLE = "proxy-unreachable"
    PROXY_MALFORMED = "proxy-malformed"
    PROXY_REFUSED = "proxy-refused"
    PROXY_PASSWORD_WRONG = "proxy-password-wrong"
    TIMED_OUT = "timed-out"
    DOOR_OPEN_TO_STRANGERS = "door-open-to-strangers"
    ACTOR_FAILED = "actor-failed"
    SHADOWED_PACKAGE = "shadowed-package"
    # our own bugs
    INTERNAL = "internal"


class FlottaError(Exception):
    """Base of all errors: a code, one sentence, and where known the node, the job and the next step.

    `str(error)` is the whole text for a person: `[node: ][job: ]sentence. Next: step.`
    """

    def __init__(self, code: Code, sentence: str, *, node: str = "", job: str = "", next_step: str = "") -> None:
        if type(self) in (FlottaError, ProtocolError):
            raise TypeError(f"{type(self).__name__} is abstract: raise one of its children")
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence
        self.node = node
        self.job = job
        self.next_step = next_step

    def __str__(self) -> str:
        where = "".join(f"{kind} {name}: " for kind, name in (("node", self.node), ("job", self.job)) if name)
        sentence = self.sentence if self.sentence.endswith((".", "!", "?")) else f"{self.sentence}."
        step = f"{NEXT_STEP}{self.next_step}" if self.next_step else ""
        return f"{where}{sentence}{step}"


class ConfigError(FlottaError):
    """The operator can mend it: configuration, folder, key file, port."""


class DeniedError(FlottaError):
    """A rule says no: the holder's policy, the project's membership, the protocol's order of things."""


class AddressError(FlottaError):
    """An id, an EUI or a network address does not read."""


class DataError(FlottaError):
    """A table, a column or a value cannot be used."""


class WorkflowError(FlottaError):
    """An artifact, an order or a plan makes no sense, whoever sent it."""


class StorageError(FlottaError):
    """A database, a file or the disk failed."""


class UnreachableError(FlottaError):
    """Nobody answered within the limit."""


class ProtocolError(FlottaError):
    """Abstract base of the two kinds of broken rules on the wire."""


class RemoteProtocolError(ProtocolError):
    """Their mistake. The receiver counts it, may answer with its code, and goes on."""

    def __init__(self, code: Code, sentence: str = "") -> None:
        super().__init__(code, sentence or code.value)


class LocalProtocolError(ProtocolError):
    """Our mistake: this program tried to do what the protocol forbids. A bug."""

    def __init__(self, sentence: str, code: Code = Code.INTERNAL) -> None:
        super().__init__(code, sentence)


class InvariantBroken(LocalProtocolError):
    """A machine found itself in a state that cannot be; the message carries the story of the key."""


_CLASSES: Final[dict[Code, type[FlottaError]]] = {
    Code.WRITE_REFUSED: DeniedError,
    Code.BUSY: UnreachableError,
    Code.DISK_FULL: StorageError,
    Code.DATABASE_FAILED: StorageError,
}


def error_of(code_text: str, sentence: str, next_step: str, *, otherwise: Code) -> FlottaError:
    """What another process told of its error, as an error here. `otherwise`: for a code that a newer program knows.
    A WorkflowError, except for a few codes whose class says what to do.
    """
    try:
        code = Code(code_text)
    except ValueError:
        code = otherwise
    return _CLASSES.get(code, WorkflowError)(code, sentence, next_step=next_step)

"""Every limit with its unit, who could grow it, the worst case, and why this number.

A limit refuses; it never truncates in silence. Units stand last in the name.
"""

from __future__ import annotations

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB

# --- frames and bodies ---------------------------------------------------------------------------
# Parsing 64 KiB of empty msgpack containers costs about 10 ms and 3 MB, 1 MiB about 470 ms and 72 MB: bodies are
# therefore capped per message type before anything is parsed (see protocol/wire/registry.py).
BODY_BYTES_PING_MAX: Final = 1 * KIB  # acknowledgements and heartbeats; any peer, many per second
BODY_BYTES_DOOR_MAX: Final = 4 * KIB  # whoever knows a project's door key, before the proof
BODY_BYTES_CONTROL_MAX: Final = 64 * KIB  # status, greeting, renewals; peers only
BODY_BYTES_MANIFEST_MAX: Final = 256 * KIB  # orders, plans, lists of tasks and results; peers and proved submitters
FRAME_BYTES_MAX: Final = 1 * MIB + 4 * KIB  # ZMQ_MAXMSGSIZE of the node's socket: libzmq drops the connection beyond it
MSGPACK_DEPTH_MAX: Final = 16  # nesting; deeper input would recurse in walkers of ours
MSGPACK_MAP_ITEMS_MAX: Final = 256  # keys of one map; our widest record has far fewer
MSGPACK_ARRAY_ITEMS_MAX: Final = 65_536  # a column of bin edges or a list of tasks; bounded by the body anyway
STATEMENT_BYTES_MAX: Final = 128 * KIB  # one DSSE envelope; an order with 4,096 filter values fits
CANCEL_BYTES_MAX: Final = 3 * KIB  # a cancel statement; it travels on to workers in a Stop of BODY_BYTES_DOOR_MAX
TXT_STATEMENT_BYTES_MAX: Final = 1_000  # a key statement in zeroconf's TXT record; keeps a response in one packet
ADDRESSES_PER_NODE_MAX: Final = 8  # addresses in a key statement; a peer could name thousands to make us dial them
NAME_CHARS_MAX: Final = 64  # names of nodes, projects, sources, steps, outputs
# the longest address with names of 64 characters has 208; a store key stays below LMDB's 511 bytes
EUI_CHARS_MAX: Final = 256
# an invitation; eight addresses with names of 253 characters have 3 KiB, usual ones 250 characters
INVITATION_CHARS_MAX: Final = 4_096
REASON_CHARS_MAX: Final = 200  # why a node was banned; its operator writes it, and every status shows it
TOKEN_CHARS_MAX: Final = 256  # a project token; typed, piped or read from a file by the operator

# --- time ----------------------------------------------------------------------------------------
CLOCK_TOLERANCE_MS: Final = 120_000  # how far a peer's corrected clock may be off before its frame is refused
FRAME_TTL_MS: Final = 60_000  # life of a frame that says nothing else
# of a message that is repeated until acknowledged: a peer may be away over a long weekend
FRAME_TTL_MS_MAX: Final = 7 * 24 * 3_600_000
HEARTBEAT_INTERVAL_MS: Final = 2_000  # between peers; 2,000 ms × 100 peers is 50 small frames a second
PEER_AWAY_MS: Final = 7_000  # three heartbeats missed and one second of grace: the peer is shown as away
HANDSHAKE_LIMIT_MS: Final = 2_000  # a door session must have proved itself by then
SELF_TEST_LIMIT_MS: Final = 5_000  # the node refuses to run unless a stranger of its own was refused by then
SELF_TEST_HANDSHAKE_MS: Final = 250  # between two sockets of one machine; repeated until SELF_TEST_LIMIT_MS
ZAP_HOLD_MS: Final = 500  # an unknown key may have become a peer's by then: one commit and one frame on the way
ZAP_HELD_MAX: Final = 256  # connections that wait so long for their refusal; anybody grows it, 200 bytes each
DOOR_ROTATE_MS: Final = 500  # a door session tries the next address; four fit into HANDSHAKE_LIMIT_MS
PEER_ROTATE_MS: Final = 3_000  # so does a link to a peer
ENROL_RETRY_MS_MIN: Final = 500  # first pause before a door is tried again; doubles
ENROL_RETRY_MS_MAX: Final = 30_000  # two tries a minute at a door that stays shut
ENROL_PATIENCE_MS: Final = 1_500  # the node with the higher id lets the other dial first
INVITATION_LIFE_MS: Final = 86_400_000  # how long an invitation is open; a day to pass it on
INVITATION_LIFE_MS_MIN: Final = 60_000  # shorter, and clocks that differ would make it stillborn
INVITATION_LIFE_MS_MAX: Final = 30 * 86_400_000  # a month: what is open longer is forgotten, and found by others
INVITATION_REPEAT_MS: Final = 600_000  # the node that used one may ask again: its connection may have died in between
INVITATION_KEEP_MS: Final = 7 * 86_400_000  # so long after its end whoever knocks with one is told what is the matter
LEAVE_FLUSH_MS: Final = 1_000  # a node that leaves closes its connections so long after its farewell was written
WALL_MS_MAX: Final = 253_402_214_400_000  # the last day of the year 9999, where calendars of computers end

# --- neighbours: what keeps a large network from talking to itself -----------------------------------------------
NEIGHBOURS_MAX: Final = 16  # peers that a node beats for; a random graph of half that degree is connected at 10^5 nodes
PEERS_SOUGHT: Final = 32  # so many peers a node looks for by itself; all of a usual network, some of a large one
SEEK_MS: Final = 10_000  # so often a node with room asks one of its neighbours to introduce others; two small frames
INTRODUCTIONS_MAX: Final = 8  # key statements in one greeting, TXT_STATEMENT_BYTES_MAX each, beside OFFERS_MAX offers
KNOCKS_INTRODUCED_MAX: Final = 4  # tries, half a minute: nobody else says that an introduced node is still there
# introduced nodes knocked at at once, two addresses each; members could make us dial whomever they name
KNOCKING_INTRODUCED_MAX: Final = 32
ADDRESSES_INTRODUCED_MAX: Final = 2  # of an introduced node that are dialled
CROWDED_NEIGHBOURS: Final = 3 * NEIGHBOURS_MAX  # so many chose this node: it asks them to prefer others
CROWDED_MS: Final = 600_000  # how long a crowded node is chosen last; shorter and all would come back at once
GREETINGS_UNANSWERED: Final = 3  # in a row: the peer is down, cut off, or does not know this node any more
AWAY_GREETING_MS_MAX: Final = 15_000  # a peer that is away costs four small frames a minute
ROLL_CALL_LIFE_MS: Final = 60_000  # of a signed call; it crosses a network in seconds
ROLL_CALL_WAIT_MS: Final = 4_000  # from a call to the last answer: ten hops and a handshake; the submitter waits
ROLL_CALL_FRESH_MS: Final = 60_000  # after that the holders are asked for again
ROLL_CALL_PAUSE_MS: Final = 1_000  # between two calls of one caller; a member could make all others dial it
ROLL_CALLERS_MAX: Final = 1_024  # callers remembered as long as a call may live; 100 bytes each; members grow it
ROLL_CALLS_OF_SENDER_MAX: Final = 50  # new calls that one neighbour may bring in ROLL_CALL_WAIT_MS

# --- replay --------------------------------------------------------------------------------------
REPLAY_WINDOW_FRAMES: Final = 1_024  # RFC 6479 form; a sender has at most 64 frames in flight per socket (ZMQ_SNDHWM)
REPLAY_PEERS_MAX: Final = 4_096  # windows kept; grown by accepted peers and proved submitters only, 200 bytes each

# --- containers in machines ----------------------------------------------------------------------
SENDER_FRAMES_PER_S: Final = 1_000  # of one peer or door; the gate opens about 2,500 frames a second on one core
SENDER_FRAMES_BURST: Final = 2_000  # at once: a peer that was away empties its outbox
# of one peer, and to one: the receiver counts them as ours, and half of our share there stays for our own frames
RELAYED_FRAMES_PER_S: Final = SENDER_FRAMES_PER_S // 2
RELAYED_FRAMES_BURST: Final = SENDER_FRAMES_BURST // 2  # at once: tasks for 250 clients of one scheduler
FRAME_BYTES_PER_TOKEN: Final = 64 * KIB  # so that 60 MiB a second of large frames pass
DIALS_PER_S: Final = (
    20  # connections of one peer, or of one address at a door; each could guess a routing id (decision 20)
)
DIALS_BURST: Final = 200  # at once: all nodes of one machine look for this one
DOOR_DIALS_PER_S: Final = 100  # connections at one door from all addresses together
DOOR_DIALS_BURST: Final = 1_000  # at once: all nodes of a project look for this one
SHARES_MAX: Final = (
    4_096  # askers whose share is counted, the longest known is forgotten; 200 bytes each; addresses grow it
)
LINK_FRAMES_WAITING_MAX: Final = 64  # frames for a peer that is not connected; a frame has at most FRAME_BYTES_MAX
# frames on the way from actors to the wire's thread; beyond it they are dropped, counted
WIRE_COMMANDS_MAX: Final = 20_000
# descriptors of the node's process: 1,024 peers take 3,000; strangers who connect the others, 4 KiB and 2 s each
DESCRIPTORS_MAX: Final = 16_384
DESCRIPTORS_RESERVED: Final = 128  # of them for the node alone: channels of children and the control socket
# libzmq puts no bound on the parts of one message, which who knows a door key may send; the most that honest frames
# take at once is INBOX_FRAME_BYTES_MAX and 64 MiB for the fastest peer
WIRE_GROWTH_BYTES_MAX: Final = 128 * MIB
REBIND_LIMIT_MS: Final = 2_000  # a listener that was closed must be gone by then; it takes a millisecond
PEERS_MAX: Final = 1_024  # accepted peers; each holds one DEALER socket and one outbox
BANS_MAX: Final = 1_024  # nodes that the operator keeps out, 300 bytes each; beyond it a new token does more
ACCEPTED_MAX: Final = 1_024  # nodes that the operator, or an invitation, let in; as many as there may be peers
INVITATIONS_MAX: Final = 64  # remembered invitations of one node; its operator makes them, 200 bytes and a door each
KEPT_JOINS_MAX: Final = 16  # join addresses in the work directory; its operator adds them, 1.5 KiB each
STRANGERS_MAX: Final = 256  # discovered nodes without a common project; anybody on the LAN grows it; 1 KiB each
DOOR_SESSIONS_MAX: Final = 256  # half-done enrolments; whoever knows a door key grows it; 5 KiB each, 2 s each
# of them at the door of one invitation, which is for one node: who holds an old one leaves the others their room
DOOR_SESSIONS_PER_INVITATION_MAX: Final = 4
SUBMITTER_IDLE_MS: Final = 120_000  # a submitter that asked nothing so long is hung up; four of its longest polls
PROJECTS_MAX: Final = 64  # one scrypt (16 MiB, 60 ms) at start for each
SOURCES_MAX: Final = 64  # data sources of one node
OFFERS_MAX: Final = 500  # pairs of a source and a project that may reach it: what one greeting can tell in its 64 KiB
COLUMNS_SHOWN_MAX: Final = 64  # columns of one source in a status report, which names how many there are
COLUMNS_MAX: Final = 4_096  # columns of one table
# columns of one source that members of a project are told, 290 bytes each at most, in BODY_BYTES_MANIFEST_MAX
COLUMNS_PUBLISHED_MAX: Final = 800
# ids in one acknowledgement, 18 bytes each; it has BODY_BYTES_PING_MAX
ACKNOWLEDGED_AT_ONCE_MAX: Final = 48
# events that one machine takes together, with one commit; its mailbox grows it. More would make the first one wait
TURN_EVENTS_MAX: Final = 64
OUTBOX_BYTES_PER_PEER_MAX: Final = 64 * MIB  # of them together; whoever never acknowledges grows it
OUTBOX_ROWS_PER_PEER_MAX: Final = 10_000  # a peer that is away; beyond it the producer is told busy
INBOX_ROWS_MAX: Final = 200_000  # remembered message ids, 100 bytes each; kept for INBOX_KEEP_MS
INBOX_KEEP_MS: Final = FRAME_TTL_MS_MAX + 600_000  # as long as any copy may live, and ten minutes for clocks
JOBS_LIVE_MAX: Final = 1_000  # jobs in execution on one scheduler; submitters grow it
# jobs that one scheduler keeps, live and ended; submitters grow it. 4 KiB of memory and 100 us of a start each; 220 a
# day for 90 days
JOBS_KEPT_MAX: Final = 20_000
# removed jobs that a scheduler remembers, 400 bytes each, so that none is run again and who asks is told the truth
JOBS_REMOVED_MAX: Final = 20_000
JOBS_LISTED_MAX: Final = 100  # jobs in one answer, 1.4 KiB each at most; fits into BODY_BYTES_MANIFEST_MAX
# sources in one job; a status names all in one map (MSGPACK_MAP_ITEMS_MAX), 430 bytes each
PARTICIPANTS_MAX: Final = 250
# orders that a worker remembers until they expire, 300 bytes each; members grow it
EXECUTED_ORDERS_MAX: Final = 100_000
TASKS_LIVE_PER_WORKER_MAX: Final = 1_000  # accepted and not ended; schedulers of accepted peers grow it
STORY_ENTRIES_MAX: Final = 32  # history kept per key for InvariantBroken
STORY_KEYS_MAX: Final = 4_096  # histories kept; the oldest leave first, 4 KiB each at most
POLL_BACKOFF_MS_MAX: Final = 60_000  # between polls of a scheduler that is silent; longer with a longer heartbeat
RETRY_MS_MIN: Final = 500  # outbox: first repetition
RETRY_MS_MAX: Final = 30_000  # a peer that is away costs two small frames a minute and message
# between two times at which all that waits for a peer is sent at once because it greets or polls: up to 64 MiB each
HURRY_MS_MIN: Final = 2_000
STEP_EFFECTS_MAX: Final = 100_000  # effects of one step of a machine; more means a runaway loop

# --- jobs ----------------------------------------------------------------------------------------
LEASE_MS: Final = 15_000  # a holder that stays silent so long loses its task, and its job fails naming it
LEASE_MS_MIN: Final = 1_000  # four renewals a second; shorter leases break on a busy machine
LEASE_MS_MAX: Final = 3_600_000  # an hour of silence; the deadline of the job still holds
LEASE_GRACE_MS: Final = 1_000  # the scheduler waits so much longer than the worker: clocks and frames on the way
RENEWALS_PER_LEASE: Final = 4  # three may be lost before the lease is
ORDER_LIFE_MS: Final = 3_600_000  # an order may be started so long after it was signed
ORDER_LIFE_MS_MAX: Final = 7 * 24 * 3_600_000  # workers remember an order until it has expired
JOB_DEADLINE_MS: Final = 600_000  # a job ends by then whatever happens
JOB_DEADLINE_MS_MAX: Final = 7 * 24 * 3_600_000  # a week, the longest training that is planned for
# tasks of one job; its order grows it. A worker may get all of them, and the scheduler looks at all in each step
JOB_TASKS_MAX: Final = 1_000
# outcomes of tasks in one message, 600 bytes each without their products, 9 KiB when they are refusals in many words
RESULTS_AT_ONCE_MAX: Final = 64
RESULTS_BYTES_MAX: Final = 768 * KIB  # with their products; a message of results has 1 MiB, and one result fits always
TASKS_OFFERED_MAX: Final = 250  # tasks in one offer; a refusal of it is 250 signed outcomes
TASKS_SHOWN_MAX: Final = 250  # tasks in one status of a job, 430 bytes each; it tells how many there are
PROBE_BYTES_MAX: Final = 16 * MIB  # of all products of a probe at one participant; its author writes it
PROBE_TASKS_MAX: Final = 250  # tasks of a probe for each participant; its author writes it
TASK_ATTEMPTS_MAX: Final = 3  # a child process that dies under a pure or idempotent task
TASK_RUN_MS_MAX: Final = 300_000  # a child that computes longer is killed
INLINE_BYTES_MAX: Final = 192 * KIB  # a product that travels whole inside a message; larger ones go by chunks
PRODUCT_BYTES_MAX: Final = 64 * MIB  # what one task may produce; its program grows it; its manifest has 9 KiB
CHUNK_BYTES: Final = 256 * KIB  # of a large product; a frame of it is short on a slow link, 4 make 1 MiB
PIECES_AHEAD_MAX: Final = 4  # chunks between a child and its node that are not answered yet; 1 MiB, one commit for all
CHUNKS_ASKED_MAX: Final = 8  # of one task's inputs, asked for and not yet there; 2 MiB of memory at both ends
CHUNK_RETRY_MS: Final = 2_000  # a chunk that has not come by then is asked for again; 1 MiB/s fills the window in it
CHUNK_PATIENCE_MS: Final = 60_000  # without one new chunk for so long a task fails, naming who did not send it
CHUNKS_LENT_MAX: Final = 64  # chunks being read for others at once, 16 MiB; peers grow it, the rest ask again
TICKET_MS: Final = 30_000  # a read of the store is answered by then, or its answer was lost; its asker has asked again
CHUNKS_HELD_BYTES_MAX: Final = 8 * 1024 * MIB  # of all live tasks; peers grow it
TASK_FETCH_BYTES_MAX: Final = 1024 * MIB  # of all large products that one task takes; its child has 2 GiB
MEASURE_BYTES_MAX: Final = 4 * MIB  # statistics of a holder or of all; 256 columns of 1,000 bins have 3.6 MB
# products that one task takes; a message of tasks holds so much beside an order and a plan of STATEMENT_BYTES_MAX each
TASK_INPUT_BYTES_MAX: Final = 640 * KIB
SENTENCE_CHARS_MAX: Final = 1_000  # a worker's reason in an outcome; it is shown to people and stored with the job
FILTER_TERMS_MAX: Final = 256  # and, or, not and conditions of one filter; its author writes them, 100 bytes each
FILTER_DEPTH_MAX: Final = 6  # terms within terms; two levels of an artifact each, which has MSGPACK_DEPTH_MAX
# values of one membership; its author lists them, an order still fits STATEMENT_BYTES_MAX
FILTER_VALUES_MAX: Final = 4_096
QUERY_COLUMNS_MAX: Final = 256  # columns of one query; a result names each, 500 bytes
HISTOGRAM_BINS_MAX: Final = 1_000  # bins of one column, 9 bytes each in every product
GROUP_COLUMNS_MAX: Final = 4  # columns that group together; its author lists them, and more leave only small groups
# different values of one grouping column at a source: beyond it is an identifier, a measured value or free text
GROUP_VALUES_MAX: Final = 100
GROUPS_MAX: Final = 500  # groups at one source, 30 bytes each and 110 for each measured column, in MEASURE_BYTES_MAX
GROUP_KEY_CHARS_MAX: Final = 64  # of one value that names a group: longer ones are free text
STEPS_MAX: Final = 64  # steps of one artifact; ours have three

# --- discovery -----------------------------------------------------------------------------------
# one frame between node and discovery process; our records stay under 4 KiB
DISCOVERY_FRAME_BYTES_MAX: Final = 64 * KIB
# writable memory of the discovery process; zeroconf's caches under a flood
DISCOVERY_MEMORY_BYTES_MAX: Final = 256 * MIB
DISCOVERY_EVENTS_PER_S_MAX: Final = 100  # found and lost told to the node; anybody on the LAN causes them
DISCOVERY_LOOKUPS_MAX: Final = 8  # questions in flight about half-announced nodes; anybody on the LAN causes them
DISCOVERY_LOOKUP_MS: Final = 1_000  # an mDNS answer takes at most 1 s of aggregation; then the announcement is dropped
DISCOVERY_FETCHES_MAX: Final = 16  # statements fetched at once, one thread each; the node asks for typed addresses only
DISCOVERY_STOP_MS: Final = 1_000  # goodbyes take 250 ms; a child must be gone 2 s after its node
STATEMENT_CLIENTS_MAX: Final = 32  # open connections of the statement server; anybody who reaches port + 1; 10 KiB each
STATEMENT_CLIENTS_PER_ADDRESS_MAX: Final = 8  # so that one silent machine cannot take all of them
STATEMENT_ASKS_BURST_MAX: Final = 40  # questions of one address at once; many nodes of one machine share 127.0.0.1
STATEMENT_ASKS_PER_S_MAX: Final = 10  # and after that
STATEMENT_ADDRESSES_MAX: Final = 1_024  # addresses whose questions are counted; the oldest is forgotten; 200 bytes each
STATEMENT_QUESTION_BYTES_MAX: Final = 64  # the question line with its end
STATEMENT_LIMIT_MS: Final = 2_000  # one question and answer, both ends

# --- the way out through a proxy -----------------------------------------------------------------
PROXY_LOGIN_BYTES_MAX: Final = 255  # user, and password: what RFC 1929 has room for
PROXY_HEAD_BYTES_MAX: Final = 8 * KIB  # of what a proxy says before the way is open; its pages of refusal are cut off
# from the first packet to the proxy until the way to the target is open; with STATEMENT_LIMIT_MS below FETCH_LIMIT_MS
PROXY_OPEN_LIMIT_MS: Final = 3_500
ZMTP_COMMAND_BYTES_MAX: Final = 1 * KIB  # kept by doctor of a handshake; the longest command of CURVE has some 300
TUNNEL_BUFFER_BYTES: Final = 64 * KIB  # waiting in each direction of one passage; then the sender is read no further
TUNNEL_WAYS_MAX: Final = PEERS_MAX + DOOR_SESSIONS_MAX + DISCOVERY_FETCHES_MAX  # targets: all that are dialled or asked
TUNNEL_PASSAGES_MAX: Final = 2  # connections of one way at once: a new one, and one that has not noticed its end
TUNNEL_PROBLEMS_MAX: Final = 8  # addresses whose last problem is shown, the newest; all that are dialled grow it
TUNNEL_DRAIN_MS: Final = 2_000  # for the last bytes of a passage whose other side has ended
TUNNEL_BACKOFF_MS_MIN: Final = 100  # pause after a way could not be opened; doubles
TUNNEL_BACKOFF_MS_MAX: Final = 5_000  # a proxy that is down is asked twelve times a minute for each way
TUNNEL_NAME_KEEP_MS: Final = 60_000  # the addresses of the proxy's name are looked up anew after that
# longer than on a direct way a link stays at one of several addresses: two round trips to a proxy 200 ms away
TUNNEL_PATIENCE_MS: Final = 400

# --- disclosure ----------------------------------------------------------------------------------
COHORT_ROWS_MIN: Final = 10  # fewer selected rows than this and the holder lets nothing out
CELL_ROWS_MIN: Final = 5  # histogram cells and counts of missing values in a group below it, zero apart, are withheld

# --- actors and processes ------------------------------------------------------------------------
INBOX_MESSAGES_MAX: Final = 10_000  # mailbox of one actor; a full one refuses the newest
# frames in it together; a peer sends 1 MiB in 10 ms, and a body that is dear to read takes 500 ms
INBOX_FRAME_BYTES_MAX: Final = 32 * MIB
RESTARTS_MAX: Final = 5  # of one actor within RESTART_WINDOW_MS, then the fault escalates
RESTART_WINDOW_MS: Final = 60_000  # restarts further apart do not add up
RESTART_BACKOFF_MS_MIN: Final = 100  # pause before an actor starts again; doubles
RESTART_BACKOFF_MS_MAX: Final = 10_000  # a node whose store is slow to come back is tried six times a minute
READY_LIMIT_MS: Final = 20_000  # an actor that is not ready by then counts as failed
STOP_LIMIT_MS: Final = 5_000  # an actor that has not ended so long after it was asked to counts as hung
PING_INTERVAL_MS: Final = 3_000  # supervisors ask each child for a sign of life
HANG_LIMIT_MS: Final = 10_000  # a child that gave none for so long counts as hung
CRASH_STORY_CHARS_MAX: Final = 8_192  # end of the traceback that a crash report carries; about 80 frames
TIMERS_MAX: Final = 65_536  # timers set in one node, 300 bytes each; machines grow it, a few per job, task and peer
TIMER_SLEEP_MS_MAX: Final = 1_000  # longest sleep of the timer thread: a machine that slept is noticed within it
HELD_STEPS_MAX: Final = 10_000  # steps of one machine whose effects wait for a commit; a slow disk grows it
CHILD_MEMORY_BYTES_MAX: Final = 2 * 1024 * MIB  # resident; watched by the launcher
# small tasks of one job in its child at once, the first of them being computed; and no more than make up
# CHILD_MESSAGE_BYTES_MAX together, so that CHILD_OUTBOX_BYTES_MAX has room for them and for chunks
CHILD_PIPELINE_MAX: Final = 64
CHILD_SPARE_MS: Final = 2_000  # a child whose job sends nothing more goes home
CHILD_MEMORY_WATCH_MS: Final = 100  # a child that allocates 1 GB/s outgrows its limit by 100 MB before it is seen
# RLIMIT_AS, a distant backstop: Polars maps 950 MB and hangs when tight
CHILD_ADDRESS_BYTES_MAX: Final = 16 * 1024 * MIB
CHILD_FILES_MAX: Final = 64  # descriptors open at once in a child; numpy, Polars and one table need about 20
CHILDREN_MAX: Final = 256  # children of one node at once: task slots, discovery, flame nodes; three descriptors each
CHILD_KEY_CHARS_MAX: Final = 128  # the caller's name of a child
CHILD_MESSAGE_BYTES_MAX: Final = 16 * MIB  # one message to or from a child; a result is far smaller, a column is not
CHILD_SAYS_BYTES_MAX: Final = 2 * MIB  # what a child says of one task or table; more would take seconds to read
CHILD_OUTBOX_BYTES_MAX: Final = 2 * CHILD_MESSAGE_BYTES_MAX  # waiting for one child to read; each counts 1 KiB or more
CHILD_CHANNEL_CLOSED_MS: Final = 1_000  # a child that closed its channel has so long to exit
CHILD_END_MS: Final = 2_000  # from SIGKILL to the end of a process; only one stuck in the kernel takes longer
LAUNCHER_LINE_BYTES_MAX: Final = 64 * KIB  # one line between launcher and node; the roll of 256 kept children fits
LAUNCHER_OUTBOX_LINES_MAX: Final = 1_024  # lines waiting for the node; two per child, more means that it does not read
LAUNCHER_GREETING_MS: Final = 5_000  # the launcher's first line is written before the node starts
NODE_BACKOFF_MS_MIN: Final = 1_000  # pause before the launcher starts the node again; doubles
NODE_BACKOFF_MS_MAX: Final = 60_000  # one try a minute
NODE_SETTLED_MS: Final = 10_000  # a node that has lived so long was set up rightly
NODE_PATIENCE_MS: Final = 10_000  # between two tries while the disk is full or the port taken
NODE_ENDS_MAX: Final = 5  # so many ends of the node within NODE_ENDS_WINDOW_MS and the launcher gives up
NODE_ENDS_WINDOW_MS: Final = 600_000  # ends further apart do not add up
NODE_STOP_MS: Final = 60_000  # from the wish to stop until the node is killed; runs of flame take FLAME_SUSPEND_MS
WARM_MS: Final = 600_000  # so long after the last task the spare child keeps its libraries loaded (28 MB)
TASK_SLOTS: Final = 4  # tasks computed at once; each has CHILD_MEMORY_BYTES_MAX
CONTROL_CLIENTS_MAX: Final = 64  # command lines connected at once; the operator starts them, two descriptors each
CONTROL_BYTES_MAX: Final = 1 * MIB  # one message of the control socket; a chunk of a result or 100 jobs fit
CONTROL_WAIT_MS_MAX: Final = 30_000  # one long poll on the control socket
WATCHERS_MAX: Final = 256  # requests that wait for news or for a stored result at once; submitters grow it, 1 KiB each
SCHEMA_WAIT_MS: Final = 4_000  # a holder tells the columns of a source within it; ASK_LIMIT_MS is longer
INSPECT_LIMIT_MS: Final = 60_000  # reading a source of SOURCE_BYTES_MAX takes about 20 s
SPAWN_PAUSE_MS: Final = 1_000  # after a child that never ran: the cause is seldom gone at once
SOURCE_CHECK_MS: Final = 30_000  # how often a source is looked at for changes; two system calls
ASK_LIMIT_MS: Final = 8_000  # an answer of the scheduler to the operator; a store that waits takes STORE_BUSY_MS_MAX
JOURNAL_PAUSE_MS: Final = 30_000  # between two lines of the log about the same kind of refusal: anybody can cause them
REPORT_LIMIT_MS: Final = 2_000  # a status report does not wait longer for an actor
FETCH_LIMIT_MS: Final = 6_000  # one answer about a typed address; the discovery process may have to start first
NODE_PORT: Final = 1456  # where a node is reached when nobody says otherwise; the statement server is at the next
SOURCE_BYTES_MAX: Final = 2 * 1024 * MIB  # a CSV file larger than this is refused with the reason

# --- retention and quota -------------------------------------------------------------------------
RESULTS_KEEP_MS: Final = 90 * 86_400_000  # how long an ended job is kept, unless the operator says otherwise
RESULTS_KEEP_MS_MIN: Final = 3_600_000  # an hour: shorter, and a submitter who looked away would find nothing
RESULTS_KEEP_MS_MAX: Final = 36_500 * 86_400_000  # a hundred years; longer is `forever`
RESULTS_QUOTA_BYTES: Final = 10_240 * MIB  # of all results of one node, unless the operator says otherwise
# four jobs at once, each of which may have a result of MEASURE_BYTES_MAX; one of PRODUCT_BYTES_MAX needs more
RESULTS_QUOTA_BYTES_MIN: Final = 16 * MIB
# half of RESOURCE_MAP_BYTES_MAX: LMDB gives a small result up to twice its bytes
RESULTS_QUOTA_BYTES_MAX: Final = 32_768 * MIB
QUOTA_PERCENT_GOOD: Final = 90  # of the quota or of JOBS_KEPT_MAX; with more an operator has time to act
RETENTION_LOOK_MS: Final = 60_000  # how often is looked for jobs whose time is over; one scan of JOBS_KEPT_MAX rows
# removed in one step, one commit, for which others wait: 5 ms as a rule, half a second with JOB_TASKS_MAX tasks in each
RETENTION_JOBS_AT_ONCE: Final = 16
RETENTION_PAUSE_MS: Final = 200  # between two such steps: 80 jobs a second
RETENTION_LOGS_AT_ONCE: Final = 10_000  # old events of jobs of others removed in one look, about 50 ms of the store
REMOVED_KEEP_MS: Final = 90 * 86_400_000  # so long after its removal whoever asks for a job is told of it
# a wall clock that is further ahead of what the node saw pass has jumped; a restart takes minutes, NTP corrects seconds
CLOCK_JUMP_MS_MAX: Final = 600_000
# so long it must then run on, by the boot clock, before anything is removed by it: somebody who works with the node
# notices a wrong date, and a machine that is off at night is up so long at a stretch
CLOCK_CONFIRM_MS: Final = 6 * 3_600_000
CLOCK_NOTE_MS: Final = 300_000  # how often it is written down; shorter than CLOCK_JUMP_MS_MAX, one small commit each

# --- storage -------------------------------------------------------------------------------------
RESOURCE_BYTES_MAX: Final = 1 * MIB  # one resource in LMDB; larger results are manifests with their chunks
RESOURCE_MAP_BYTES_MIN: Final = 64 * MIB  # LMDB's map at first, address space; doubled at 70 % while idle
RESOURCE_MAP_BYTES_MAX: Final = 64 * 1024 * MIB  # all resources of one node; results of jobs grow it
RESOURCE_READERS_MAX: Final = 512  # reader slots of LMDB, 64 bytes each; readers that died hold theirs
RECORD_BYTES_MAX: Final = 2 * MIB  # one row of the metadata database; the widest is an outbox frame
COMMIT_GROUP_MAX: Final = 256  # batches in one transaction: one fsync for all, and still well under 100 ms
STORE_BUSY_MS_MAX: Final = 5_000  # wait for a database that another program holds; then refused
STORE_PAGE_ROWS_MAX: Final = 1_000  # rows of one answer about job events or audit; 1 KiB each

# --- configuration and the files of a node -------------------------------------------------------
CONFIG_BYTES_MAX: Final = 256 * KIB  # of a configuration file; its operator grows it; parsed in under 0.2 s
CONFIG_DEPTH_MAX: Final = 32  # nesting of the file; the schema needs 5, libyaml takes a minute for 200,000 brackets
CONFIG_VALUE_CHARS_MAX: Final = 4_096  # of one value; the longest path that Linux opens
CONFIG_FAULTS_MAX: Final = 50  # shown at once; more would scroll away and cost a comparison of names each
SUBMITTERS_PER_SOURCE_MAX: Final = 1_024  # person ids in one policy; the holder grows it, 32 bytes each
PRIVATE_FILE_BYTES_MAX: Final = 4 * KIB  # a key or token file; ours have under 200 bytes
# below it a node does not start, and one that runs leads no new job: one LMDB growth and a WAL must still fit
DISK_FREE_BYTES_MIN: Final = 64 * MIB
DISK_FREE_BYTES_GOOD: Final = 1024 * MIB  # below it one large job or a few days of logs can fill the disk
DISK_FREE_PERCENT_GOOD: Final = 5  # of the disk; below both it is told
DISK_FREE_FILES_GOOD: Final = 1_000  # the node itself needs about thirty

# --- health: what a node watches of itself ---------------------------------------------------------
HEALTH_FIRST_MS: Final = 5_000  # from the start to the first check: discovery is ready and sources are read by then
HEALTH_AGAIN_MS: Final = 60_000  # so soon it looks again while something is not well, however seldom it looks else
HEALTH_ANSWER_MS: Final = 5_000  # a disk, the store or an actor that has not answered by then gave no answer
HEALTH_STEP_SHOWN_MS: Final = 3_600_000  # so long it is told that the machine's clock was set
CLOCK_OFFSET_MS_GOOD: Final = 30_000  # a clock that NTP keeps is off by less than a second
STORE_ANSWER_MS_GOOD: Final = 2_000  # the store answers within milliseconds; a disk that is slow takes longer
STATEMENT_LEFT_MS_GOOD: Final = 7 * 86_400_000  # a key statement lives for 90 days and is signed anew daily
RESOURCE_MAP_PERCENT_GOOD: Final = 90  # of RESOURCE_MAP_BYTES_MAX
TASKS_WAITING_GOOD: Final = 1_000  # tasks that wait for a slot; usual ones take a tenth of a second

# --- flame: an executor and its flame nodes ------------------------------------------------------
FLAME_NODES_MAX: Final = 256  # of one run; its author grows it; each is a process of 20 MiB and more
# from the start of a process to its Hello, while it imports and opens instruments; the slowest packages take 20 s
FLAME_HELLO_MS: Final = 60_000
FLAME_WIRE_MS: Final = 60_000  # for each of binding and connecting: a long journal is read back before
FLAME_BEAT_MISSED_MS: Final = 5_000  # ten beats; a process that is silent so long is stopped or hangs as a whole
FLAME_COMPUTING_MS: Final = 100  # of CPU time between two looks: it computes, and beats when it can; 2 % of a core
FLAME_LATE_MS: Final = 1_000  # a timer so late means that this process itself stood still: beats wait to be read
FLAME_STOP_MS: Final = 30_000  # for the code below the loop, which may bring down a voltage or save a file
FLAME_LEAVE_MS: Final = 5_000  # from Bye to the end of the process: only the interpreter's own end is left
FLAME_FAREWELL_MS: Final = 300  # a Bye may still be on its way when the end of its process is seen
FLAME_LOCK_MS: Final = 1_000  # a guard ends processes within milliseconds; the safe programs that it runs take longer
FLAME_KILL_MS: Final = 5_000  # a killed process that is still there hangs in the kernel; a disk or a driver
FLAME_SAFE_MS: Final = 30_000  # for the safe program of a flame node; then it is killed too
FLAME_RESTART_MS_MIN: Final = 100  # pause before a restart, doubled by each restart within the window of the policy,
FLAME_RESTART_MS_MAX: Final = 10_000  # so that an instrument that is gone is not asked a thousand times
FLAME_REASON_CHARS_MAX: Final = 4_000  # of a reason or problem; programs grow it; a page, the rest is in the log
FLAME_NOTES_MAX: Final = 100  # kept of one flame node; its journals grow them, one for each input and start
FLAME_CONTROL_BYTES_MAX: Final = 4 * MIB  # of a message to an executor; the largest is a schema of many ports
FLAME_CONTROL_QUEUE_MAX: Final = 10_000  # messages that wait for a flame node or its executor; beats grow it
FLAME_LOOK_MS: Final = 100  # how often ends of processes are looked for where the system does not tell them
FLAME_SHOWN_MS: Final = 250  # how often counters are told to whoever watches a run; eyes follow no more
FLAME_KEPT_RUNS_MAX: Final = 16  # runs of a node; its user grows it; each is a thread, sockets and a guard
FLAME_KEPT_CRASHES_MAX: Final = 5  # of one run's executor, which is our mistake, within FLAME_KEPT_WINDOW_MS; then a
FLAME_KEPT_WINDOW_MS: Final = 600_000  # person is to look at it
FLAME_KEPT_TRIES_MAX: Final = 5  # in a row that found wrong files; half a minute, for a library on a late disk
FLAME_KEPT_PAUSE_MS_MIN: Final = 1_000  # before a run is tried again, doubled by each try in vain: a guard may still
FLAME_KEPT_PAUSE_MS_MAX: Final = 60_000  # run safe programs for FLAME_SAFE_MS, and a disk may come late after power
FLAME_SUSPEND_MS: Final = 40_000  # for the runs of a node that stops: FLAME_STOP_MS, FLAME_LEAVE_MS, FLAME_KILL_MS
FLAME_CRASH_SUSPEND_MS: Final = 3_000  # when their keeper has crashed; its supervisor waits for HANG_LIMIT_MS
FLAME_GUARD_MS: Final = 1_000  # for a guard to start safe programs and to end, beside their FLAME_SAFE_MS
FLAME_TAKE_UP_MS: Final = 600_000  # for a look at what would run now; 256 node files of large libraries take minutes
FLAME_TAKE_UPS_MAX: Final = 4  # such looks at once, after a start with many runs; each imports what node files import
FLAME_ARCHIVE_MS: Final = 1_800_000  # for an archive; a day of a fast camera is some hundred GiB
FLAME_DROP_MS: Final = 1_800_000  # to take values out of the journals of earlier runs, which are as large
FLAME_DROPS_MAX: Final = 4  # such chores at once; who runs many short runs grows it
FLAME_CHORE_BYTES_MAX: Final = 64 * KIB  # of what a chore of a run answers; a list of differences is a page
FLAME_PATH_CHARS_MAX: Final = 4_096  # of a path that a command hands over; as long as Linux takes one

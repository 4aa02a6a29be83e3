-- A rollout's plan and hosts, fixed at its start.
CREATE TABLE rollout (number INTEGER PRIMARY KEY, started_ms INTEGER NOT NULL, spec TEXT NOT NULL) STRICT;
-- What moved it, in order. Of two servers that append at one place one is refused, and reads again.
CREATE TABLE journal (
    rollout INTEGER NOT NULL REFERENCES rollout(number), number INTEGER NOT NULL, entry TEXT NOT NULL, PRIMARY KEY (rollout, number)
) STRICT, WITHOUT ROWID;
CREATE TABLE decision (
    number INTEGER PRIMARY KEY AUTOINCREMENT, rollout INTEGER NOT NULL REFERENCES rollout(number), at_ms INTEGER NOT NULL,
    decision TEXT NOT NULL
) STRICT;
CREATE INDEX decision_of ON decision (rollout, number);
-- Crashes and health once more, numbered as they came: what the gate has still to hear.
CREATE TABLE evidence (
    number INTEGER PRIMARY KEY AUTOINCREMENT, host TEXT NOT NULL, received_ms INTEGER NOT NULL, body BLOB NOT NULL
) STRICT;
CREATE INDEX evidence_received ON evidence (received_ms);

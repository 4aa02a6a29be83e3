-- A store as the first server left it: tables of version 1, and a fleet of two hosts in them. Never changed.
CREATE TABLE host (
    id TEXT PRIMARY KEY, tenant TEXT NOT NULL, ring TEXT NOT NULL, serial TEXT NOT NULL, serial_before TEXT,
    not_after_ms INTEGER NOT NULL, enrolled_ms INTEGER NOT NULL, revoked_ms INTEGER, cloned_ms INTEGER,
    key_hash TEXT NOT NULL, token_hash TEXT NOT NULL REFERENCES enrol_token(hash)
) STRICT;
CREATE UNIQUE INDEX host_key ON host (key_hash, token_hash);
-- Written once a minute and host: apart from what must not be lost, and small.
CREATE TABLE seen (
    host TEXT PRIMARY KEY REFERENCES host(id), seen TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE enrol_token (
    hash TEXT PRIMARY KEY, tenant TEXT NOT NULL, ring TEXT NOT NULL, uses INTEGER NOT NULL, used INTEGER NOT NULL DEFAULT 0,
    expires_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE operator_token (
    name TEXT PRIMARY KEY, hash TEXT NOT NULL UNIQUE, role TEXT NOT NULL, is_revoked INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE TABLE record (
    host TEXT NOT NULL, boot TEXT NOT NULL, stream INTEGER NOT NULL, sequence INTEGER NOT NULL, received_ms INTEGER NOT NULL,
    body BLOB NOT NULL, PRIMARY KEY (host, boot, stream, sequence)
) STRICT, WITHOUT ROWID;
CREATE INDEX record_received ON record (received_ms);
CREATE TABLE dropped (
    host TEXT NOT NULL, boot TEXT NOT NULL, stream INTEGER NOT NULL, count INTEGER NOT NULL, PRIMARY KEY (host, boot, stream)
) STRICT, WITHOUT ROWID;
CREATE TABLE crash (
    bucket TEXT NOT NULL, received_ms INTEGER NOT NULL, host TEXT NOT NULL, title TEXT NOT NULL, is_ours INTEGER NOT NULL,
    content TEXT NOT NULL, rule TEXT NOT NULL
) STRICT;
CREATE INDEX crash_received ON crash (received_ms);
CREATE TABLE desired (one INTEGER PRIMARY KEY CHECK (one = 1), generation INTEGER NOT NULL, what TEXT NOT NULL) STRICT;
INSERT INTO desired VALUES (1, 1, '');
CREATE TABLE audit (
    number INTEGER PRIMARY KEY AUTOINCREMENT, at_ms INTEGER NOT NULL, actor TEXT NOT NULL, action TEXT NOT NULL, subject TEXT NOT NULL,
    reason TEXT NOT NULL
) STRICT;
-- Only ever added to, whoever writes.
CREATE TRIGGER audit_stays BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'the audit log is never changed'); END;
CREATE TRIGGER audit_is_kept BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'the audit log is never changed'); END;
INSERT INTO enrol_token VALUES ('t1', 'acme', 'early', 2, 2, 1000);
INSERT INTO host VALUES ('h1', 'acme', 'early', 's2', 's1', 99, 10, NULL, NULL, 'k1', 't1');
INSERT INTO host VALUES ('h2', 'acme', 'early', 's3', NULL, 99, 11, 66, 55, 'k2', 't1');
INSERT INTO seen VALUES ('h1', 
    '{"sequence":3,"instance":"i1","boot":"b1","last_seen_ms":77,"promised_ms":99,"generation":9,"state_hash":"d1","clock_ahead_ms":-5,"state":{
    "host":{"name":"web-7","kernel":"6.1","distribution":"debian-12","architecture":"x86_64","agent_version":"0.1.0","workload":"web"},
    "content":{"id":"","version":7,"slot":"candidate","is_paused":false}}}');
INSERT INTO operator_token VALUES ('ada', 'o1', 'admin', 0);
INSERT INTO record VALUES ('h1', 'b1', 2, 1, 12, x'0801');
INSERT INTO dropped VALUES ('h1', 'b1', 2, 4);
INSERT INTO crash VALUES ('bucket', 12, 'h1', 'title', 1, '', 'rule');
UPDATE desired SET generation = 9, what = 'published';
INSERT INTO audit (at_ms, actor, action, subject, reason) VALUES (10, 'enrolment', 'host_enrol', 'h1', 'a token for ring early of acme');
PRAGMA application_id = 1465140812;
PRAGMA user_version = 1;

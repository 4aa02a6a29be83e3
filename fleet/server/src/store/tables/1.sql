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

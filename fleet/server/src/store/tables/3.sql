-- What a customer said about a ring.
CREATE TABLE ring_policy (ring TEXT PRIMARY KEY, policy TEXT NOT NULL) STRICT, WITHOUT ROWID;

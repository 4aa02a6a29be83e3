-- What hosts told as lost, by the hour in which they told it: `dropped` has the sums, and no time. What was lost before is in no hour.
CREATE TABLE dropped_hour (
    host TEXT NOT NULL, stream INTEGER NOT NULL, hour_ms INTEGER NOT NULL, count INTEGER NOT NULL, PRIMARY KEY (host, stream, hour_ms)
) STRICT, WITHOUT ROWID;

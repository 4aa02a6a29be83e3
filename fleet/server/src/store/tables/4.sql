-- `INSERT OR REPLACE` takes a row away without a delete that a trigger would see. A number that the database is to give itself is -1 before the
-- row is there, so no row may have such a one.
CREATE TRIGGER audit_is_new BEFORE INSERT ON audit WHEN NEW.number > 0 AND EXISTS (SELECT 1 FROM audit WHERE number = NEW.number)
BEGIN SELECT RAISE(ABORT, 'the audit log is never changed'); END;
CREATE TRIGGER audit_counts_up AFTER INSERT ON audit WHEN NEW.number < 1
BEGIN SELECT RAISE(ABORT, 'the audit log is never changed: its numbers begin at 1'); END;

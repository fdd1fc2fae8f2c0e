"""The index's tables, and every statement that changes them, by name: a log record repeats them by these names."""

from collections.abc import Mapping

SCHEMA = """
CREATE TABLE IF NOT EXISTS state (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tails (device TEXT PRIMARY KEY, segment INTEGER NOT NULL, tail INTEGER NOT NULL)
  WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS accounts (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, created INTEGER NOT NULL,
  changed INTEGER NOT NULL, meta BLOB NOT NULL, deleted_at INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS account_usage (account INTEGER NOT NULL, policy INTEGER NOT NULL,
  containers INTEGER NOT NULL, objects INTEGER NOT NULL, bytes INTEGER NOT NULL, PRIMARY KEY (account, policy))
  WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS containers (id INTEGER PRIMARY KEY, account INTEGER NOT NULL, name TEXT NOT NULL,
  policy INTEGER NOT NULL, created INTEGER NOT NULL, changed INTEGER NOT NULL, meta BLOB NOT NULL,
  objects INTEGER NOT NULL DEFAULT 0, bytes INTEGER NOT NULL DEFAULT 0, UNIQUE (account, name));
CREATE INDEX IF NOT EXISTS containers_synced ON containers (id)
  WHERE instr(meta, CAST('x-container-sync-to' AS BLOB));
CREATE TABLE IF NOT EXISTS objects (container INTEGER NOT NULL, name TEXT NOT NULL, ts INTEGER NOT NULL,
  size INTEGER NOT NULL, etag TEXT NOT NULL, type TEXT NOT NULL, blob INTEGER NOT NULL, meta BLOB NOT NULL,
  delete_at INTEGER NOT NULL, version INTEGER NOT NULL, kind TEXT NOT NULL, shown BLOB NOT NULL,
  PRIMARY KEY (container, name)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS objects_due ON objects (delete_at) WHERE delete_at > 0;
CREATE TABLE IF NOT EXISTS versions (container INTEGER NOT NULL, name TEXT NOT NULL, version INTEGER NOT NULL,
  ts INTEGER NOT NULL, size INTEGER NOT NULL, etag TEXT NOT NULL, type TEXT NOT NULL, blob INTEGER NOT NULL,
  meta BLOB NOT NULL, delete_at INTEGER NOT NULL, kind TEXT NOT NULL, shown BLOB NOT NULL,
  PRIMARY KEY (container, name, version DESC)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS blobs (id INTEGER PRIMARY KEY, refs INTEGER NOT NULL, size INTEGER NOT NULL,
  sums BLOB NOT NULL, places BLOB NOT NULL, policy INTEGER NOT NULL, key INTEGER NOT NULL, sealed BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS segments (device TEXT NOT NULL, segment INTEGER NOT NULL, bytes INTEGER NOT NULL,
  dead INTEGER NOT NULL, PRIMARY KEY (device, segment)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS repairs (blob INTEGER PRIMARY KEY, why TEXT NOT NULL);
"""

CHANGES: Mapping[str, str] = {
    "account": "INSERT INTO accounts (id, name, created, changed, meta, deleted_at) VALUES (?,?,?,?,?,?)"
    " ON CONFLICT (id) DO UPDATE SET changed=excluded.changed, meta=excluded.meta, deleted_at=excluded.deleted_at",
    "account-": "DELETE FROM accounts WHERE id=?",
    "usage": "INSERT INTO account_usage (account, policy, containers, objects, bytes) VALUES (?,?,?,?,?)"
    " ON CONFLICT (account, policy) DO UPDATE SET containers=containers+excluded.containers,"
    " objects=objects+excluded.objects, bytes=bytes+excluded.bytes",
    "usage-": "DELETE FROM account_usage WHERE account=?",
    "container": "INSERT INTO containers (id, account, name, policy, created, changed, meta) VALUES (?,?,?,?,?,?,?)"
    " ON CONFLICT (id) DO UPDATE SET changed=excluded.changed, meta=excluded.meta, policy=excluded.policy",
    "container-": "DELETE FROM containers WHERE id=?",
    "counts": "UPDATE containers SET objects=objects+?, bytes=bytes+? WHERE id=?",
    "object": "INSERT OR REPLACE INTO objects (container, name, ts, size, etag, type, blob, meta, delete_at, version,"
    " kind, shown) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)",
    "object-": "DELETE FROM objects WHERE container=? AND name=?",
    "version": "INSERT OR REPLACE INTO versions (container, name, ts, size, etag, type, blob, meta, delete_at, version,"
    " kind, shown) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)",
    "version-": "DELETE FROM versions WHERE container=? AND name=? AND version=?",
    "blob": "INSERT OR REPLACE INTO blobs (id, refs, size, sums, places, policy, key, sealed) VALUES (?,1,?,?,?,?,?,?)",
    "share": "UPDATE blobs SET refs=refs+1 WHERE id=?",
    "release": "UPDATE blobs SET refs=refs-1 WHERE id=?",
    "blob-": "DELETE FROM blobs WHERE id=?",
    "places": "UPDATE blobs SET places=? WHERE id=?",
    "sealed": "UPDATE blobs SET sealed=? WHERE id=?",
    "segment": "INSERT INTO segments (device, segment, bytes, dead) VALUES (?,?,?,?)"
    " ON CONFLICT (device, segment) DO UPDATE SET bytes=bytes+excluded.bytes, dead=dead+excluded.dead",
    "segment-": "DELETE FROM segments WHERE device=? AND segment=?",
    "repair": "INSERT OR REPLACE INTO repairs (blob, why) VALUES (?,?)",
    "repair-": "DELETE FROM repairs WHERE blob=?",
}

OBJECT = "container, name, ts, size, etag, type, blob, meta, delete_at, version, kind, shown"

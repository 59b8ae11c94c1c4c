-- The event file that 'maskwatch watch --source demo' of version 0.1.0 wrote, and the table of its web view.
PRAGMA user_version = 1;
BEGIN TRANSACTION;
CREATE TABLE events (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, camera TEXT NOT NULL,
  wall_s REAL NOT NULL, stored_s REAL NOT NULL, record TEXT NOT NULL);
INSERT INTO "events" VALUES(1,'6b09ea418fa9ac-door-1','no_mask','door',1.79581192258055210111e+09,1.79581192316640138621e+09,'{"id": "6b09ea418fa9ac-door-1", "at": "2026-11-27T20:38:42.580Z", "kind": "no_mask", "camera": "door", "time_s": 3.95, "wall_s": 1795811922.580552, "track_id": 1, "confidence": 0.9831094003668158, "duration_s": 2.0, "reason": "", "resolves": "", "people": 1, "box_x": 132.7, "box_y": 132.2, "box_width": 79.5, "box_height": 97.8}');
INSERT INTO "events" VALUES(2,'6b09ea418fa9ac-door-2','resolved','door',1.79581193477186250688e+09,1.79581193483572793012e+09,'{"id": "6b09ea418fa9ac-door-2", "at": "2026-11-27T20:38:54.771Z", "kind": "resolved", "camera": "door", "time_s": 9.200000000000001, "wall_s": 1795811934.7718625, "track_id": 1, "confidence": 0.6127899785128114, "duration_s": 5.250000000000001, "reason": "unsure", "resolves": "6b09ea418fa9ac-door-1", "people": 1, "box_x": 161.5, "box_y": 131.9, "box_width": 113.4, "box_height": 128.8}');
CREATE TABLE file (identity TEXT NOT NULL);
INSERT INTO "file" VALUES('cceaafd5f5964c86ba6e7b416f5385ea');
CREATE TABLE outbox (
  event_id TEXT NOT NULL REFERENCES events (id) ON DELETE CASCADE, channel TEXT NOT NULL, created_s REAL NOT NULL,
  updated_s REAL NOT NULL, status TEXT NOT NULL, attempts INTEGER NOT NULL, error TEXT NOT NULL, owner TEXT NOT NULL,
  PRIMARY KEY (event_id, channel));
INSERT INTO "outbox" VALUES('6b09ea418fa9ac-door-1','desk',1.79581192315970301627e+09,1.7958119451808452606e+09,'pending',6,'webhook http://127.0.0.1:9/***: [Errno 111] Connection refused','');
INSERT INTO "outbox" VALUES('6b09ea418fa9ac-door-1','bell',1.79581192315970301627e+09,1.79581192331748270988e+09,'delivered',1,'','727ffe4335b24514bc35f726f1ad1408');
INSERT INTO "outbox" VALUES('6b09ea418fa9ac-door-2','desk',1.79581193483551597596e+09,1.79581193483551597596e+09,'pending',0,'','');
INSERT INTO "outbox" VALUES('6b09ea418fa9ac-door-2','bell',1.79581193483551597596e+09,1.79581193486037898063e+09,'delivered',1,'','727ffe4335b24514bc35f726f1ad1408');
CREATE TABLE presence (
  camera TEXT NOT NULL, hour_s INTEGER NOT NULL, masked INTEGER NOT NULL, bare INTEGER NOT NULL,
  incorrect INTEGER NOT NULL, PRIMARY KEY (camera, hour_s));
INSERT INTO "presence" VALUES('door',1795809600,2,0,0);
CREATE TABLE snapshots (
  event_id TEXT PRIMARY KEY REFERENCES events (id) ON DELETE CASCADE, jpeg BLOB NOT NULL);
CREATE INDEX events_wall ON events (wall_s);
CREATE INDEX outbox_status ON outbox (status);
CREATE TABLE acknowledged (
  event_id TEXT PRIMARY KEY REFERENCES events (id) ON DELETE CASCADE, wall_s REAL NOT NULL);
INSERT INTO acknowledged VALUES('6b09ea418fa9ac-door-1',1795811950.5);
COMMIT;

CREATE TABLE payments (`user` STRING, amount BIGINT) WITH (
  'connector' = 'kafka', 'properties.bootstrap.servers' = '${BROKERS}', 'topic' = '${TOPIC}', 'format' = 'json',
  'properties.group.id' = 'flink', 'scan.startup.mode' = 'earliest-offset', 'scan.bounded.mode' = 'latest-offset');
CREATE TABLE copies (`user` STRING, amount BIGINT) WITH (
  'connector' = 'kafka', 'properties.bootstrap.servers' = '${BROKERS}', 'topic' = '${OUT_TOPIC}', 'format' = 'json');
INSERT INTO copies SELECT `user`, amount FROM payments WHERE amount >= 50;

CREATE TABLE readings (
  ts TIMESTAMP(3), k STRING, v BIGINT,
  WATERMARK FOR ts AS ts
) WITH ('connector' = 'filesystem', 'path' = '${INPUT}/readings', 'format' = 'json');
SELECT k, COUNT(*) AS n, SUM(v) AS total, window_end
FROM TABLE(HOP(TABLE readings, DESCRIPTOR(ts), INTERVAL '10' SECOND, INTERVAL '60' SECOND))
GROUP BY k, window_start, window_end;

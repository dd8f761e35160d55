CREATE TABLE payments (`user` STRING, amount BIGINT) WITH ('connector' = 'filesystem', 'path' = '${INPUT}/payments', 'format' = 'json');
SELECT `user`, SUM(amount) AS total FROM payments GROUP BY `user`;

-- append
SELECT k, count(*) AS n, sum(v) AS total, window.end AS window_end
FROM readings GROUP BY k, window(ts, '60 seconds', '10 seconds')

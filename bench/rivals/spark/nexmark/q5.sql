-- append
-- Spark cannot join two streams of aggregates, so the query collects the counts of each window, and keeps the highest ones.
SELECT best.auction, best.num
FROM (
  SELECT explode(filter(counts, one -> one.num = most)) AS best
  FROM (
    SELECT window, max(num) AS most, collect_list(struct(auction, num)) AS counts
    FROM (SELECT auction, count(*) AS num, window(date_time, '10 seconds', '2 seconds') AS window FROM bid
      GROUP BY auction, window(date_time, '10 seconds', '2 seconds'))
    GROUP BY window
  )
)

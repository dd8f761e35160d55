-- append
-- Spark joins no stream of aggregates with one of their own kind, so the counts of each window are taken together, and those that are highest kept.
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

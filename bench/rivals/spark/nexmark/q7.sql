-- append
-- Spark joins a stream of aggregates only with equal windows of time, so the highest bid of each window is an aggregate of whole bids.
SELECT highest.auction, highest.price, highest.bidder, highest.date_time, highest.extra
FROM (SELECT max_by(struct(auction, price, bidder, date_time, extra), price) AS highest FROM bid GROUP BY window(date_time, '10 seconds'))

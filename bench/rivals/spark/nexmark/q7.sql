-- append
-- Spark can join a stream of aggregates only on equal time windows, so the query aggregates complete bids to the highest one of each window.
SELECT highest.auction, highest.price, highest.bidder, highest.date_time, highest.extra
FROM (SELECT max_by(struct(auction, price, bidder, date_time, extra), price) AS highest FROM bid GROUP BY window(date_time, '10 seconds'))

-- append
SELECT to_json(struct(p.user, p.amount)) AS value
FROM (SELECT from_json(CAST(value AS STRING), 'user STRING, amount BIGINT') AS p FROM records)
WHERE p.amount >= 50

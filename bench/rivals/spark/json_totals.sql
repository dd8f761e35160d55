-- update
SELECT user, sum(amount) AS total FROM payments GROUP BY user

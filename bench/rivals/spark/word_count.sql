-- complete
SELECT word, count(*) AS n FROM (SELECT explode(split(value, '\\s+')) AS word FROM words) WHERE word <> '' GROUP BY word

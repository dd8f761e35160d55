-- append
SELECT P.id, P.name, P.window.start AS starttime
FROM (SELECT id, name, window(date_time, '10 seconds') AS window FROM person) P
JOIN (SELECT seller, window FROM (SELECT seller, window(date_time, '10 seconds') AS window, date_time FROM auction) GROUP BY seller, window) A
ON P.id = A.seller AND P.window = A.window

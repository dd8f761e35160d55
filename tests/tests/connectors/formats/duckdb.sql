-- What `duckdb.parquet` was made of, with DuckDB 2.0.1: `duckdb < duckdb.sql`.
set timezone = 'UTC';
copy (
    select * from (values
        (1, interval '1 month 2 days 3 seconds', '00010203-0405-0607-0809-0a0b0c0d0e0f'::uuid, timestamp '2026-07-01 12:00:00',
         timestamptz '2026-07-01 12:00:00+00', timestamp_ns '1969-12-31 23:59:59.999999999', time '01:02:03.5', date '10000-01-01', 'b'::enum('a', 'b'),
         map {7: [1, null]}, '\xC3\xA9'::blob, 18446744073709551615::ubigint, 123456789012345678901234567890.12::decimal(38, 2), 1.5::float, true,
         {'x': [{'since': timestamp '0001-01-01'}]}),
        (2, interval '5 days', null, timestamp '294246-01-01', null, null, null, null, null, map {}, null, 0, -0.01, 'nan', null, null)
    ) t(n, span, id, at_local, moment, ns, clock, day, word, scores, raw, u, price, f, ok, s)
) to 'duckdb.parquet' (format parquet, compression zstd);

"""Computes the expected results of docs/examples/nexmark with DuckDB, which shares no code with Millstream, from the same events.

python3 nexmark.py EVENTS QUERY OUT [QUERY OUT ...]

EVENTS is a directory with the directories person, auction and bid. OUT is a directory with a job's output. All files are Parquet. Rows
are compared as a multiset. Prints the queries that differ, with some of their rows, and exits with 1 if there are any."""

import glob
import sys

import duckdb

# The outputs of each query's job, with their column names.
RANKS = """count(*) as total_bids,
    count(*) filter (where price < 10000) as rank1_bids,
    count(*) filter (where price >= 10000 and price < 1000000) as rank2_bids,
    count(*) filter (where price >= 1000000) as rank3_bids"""
DISTINCT = ", ".join(
    f"count(distinct {of}) as total_{of}s, "
    f"count(distinct {of}) filter (where price < 10000) as rank1_{of}s, "
    f"count(distinct {of}) filter (where price >= 10000 and price < 1000000) as rank2_{of}s, "
    f"count(distinct {of}) filter (where price >= 1000000) as rank3_{of}s"
    for of in ["bidder", "auction"]
)
DAY = "strftime(date_time, '%Y-%m-%d') as day"
WON = """(select a.*, b.bidder, b.price, b.date_time as bid_date_time, b.extra as bid_extra
    from auction a join bid b on a.id = b.auction and b.date_time between a.date_time and a.expires
    qualify row_number() over (partition by a.id order by b.price desc, b.seq) = 1)"""
BID = "auction, bidder, price, channel, url, date_time, extra"
QUERIES = {
    "q0": "select auction, bidder, price, date_time, extra from bid",
    "q1": "select auction, bidder, 0.908::double * price as price, date_time, extra from bid",
    "q2": "select auction, price from bid where auction % 123 = 0",
    "q3": """select p.name, p.city, p.state, a.id from auction a join person p on a.seller = p.id
        where a.category = 10 and p.state in ('OR', 'ID', 'CA')""",
    "q4": f"select category, sum(price)::double / count(*) as average from {WON} group by category",
    "q5": """with counts as (
          select auction, count(*) as bids, e from (
            select auction, unnest(range(epoch_ms(date_time) // 2000 * 2000 + 2000, epoch_ms(date_time) // 2000 * 2000 + 12000, 2000)) as e
            from bid)
          group by auction, e)
        select auction, bids from counts qualify bids = max(bids) over (partition by e)""",
    "q6": f"""select seller, sum(price)::double / count(*) as average from (
          from {WON} qualify row_number() over (partition by seller order by epoch_us(expires) * 1000 + id % 1000 desc) <= 10)
        group by seller""",
    "q7": """select auction, price, bidder, date_time, extra from bid
        qualify price = max(price) over (partition by epoch_ms(date_time) // 10000)""",
    "q8": """select distinct p.id, p.name, make_timestamp(epoch_ms(p.date_time) // 10000 * 10000000) as starttime
        from person p join auction a
          on p.id = a.seller and epoch_ms(p.date_time) // 10000 = epoch_ms(a.date_time) // 10000""",
    "q9": f"""select id, item_name, description, initial_bid, reserve, date_time, expires, seller, category, extra,
        bidder, price, bid_date_time, bid_extra from {WON}""",
    "q10": """select auction, bidder, price, date_time, extra, strftime(date_time, '%Y-%m-%d') as dt, strftime(date_time, '%H:%M') as hm
        from bid""",
    "q11": """with begun as (
          select bidder, date_time,
            case when date_time - lag(date_time) over (partition by bidder order by date_time) < interval 10 second then 0 else 1 end as new
          from bid),
        numbered as (select *, sum(new) over (partition by bidder order by date_time rows unbounded preceding) as visit from begun)
        select bidder, count(*) as bids, min(date_time) as starttime, max(date_time) + interval 10 second as endtime
        from numbered group by bidder, visit""",
    "q12": "select bidder, count(*) as bids from bid group by bidder",
    "q13": """select auction, bidder, price, date_time, (auction % 10000 * 7919 % 10007)::varchar as value from bid""",
    "q14": """select auction, bidder, 0.908::double * price as price,
          case when hour(date_time) between 8 and 18 then 'dayTime'
            when hour(date_time) <= 6 or hour(date_time) >= 20 then 'nightTime' else 'otherTime' end as bid_time_type,
          date_time, extra, length(extra) - length(replace(extra, 'c', '')) as c_counts
        from bid where 0.908::double * price > 1000000 and 0.908::double * price < 50000000""",
    "q15": f"select {DAY}, {RANKS}, {DISTINCT} from bid group by day",
    "q16": f"""select channel, {DAY}, strftime(max(date_time), '%H:%M') as minute, {RANKS}, {DISTINCT}
        from bid group by channel, day""",
    "q17": f"""select auction, {DAY}, {RANKS}, min(price) as min_price, max(price) as max_price, avg(price) as avg_price,
          sum(price)::bigint as sum_price from bid group by auction, day""",
    "q18": f"""select {BID} from bid
        qualify row_number() over (partition by bidder, auction order by date_time desc, seq) = 1""",
    "q19": f"""select {BID}, row_number() over (partition by auction order by price desc, seq) as rank from bid
        qualify rank <= 10""",
    "q20": """select b.* exclude (seq), a.item_name, a.description, a.initial_bid, a.reserve, a.date_time as auction_date_time, a.expires, a.seller,
          a.category, a.extra as auction_extra from bid b join auction a on b.auction = a.id where a.category = 10""",
    "q21": """select * from (
          select auction, bidder, price, channel,
            case lower(channel) when 'apple' then '0' when 'google' then '1' when 'facebook' then '2' when 'baidu' then '3'
              else nullif(regexp_extract(url, '(&|^)channel_id=([^&]*)', 2), '') end as channel_id
          from bid) where channel_id is not null""",
    "q22": """select auction, bidder, price, channel, split_part(url, '/', 4) as dir1, split_part(url, '/', 5) as dir2,
          split_part(url, '/', 6) as dir3 from bid""",
}
# The result of a job's rows. For windows by the machine's clock, only sums are known. Some rows delete previous ones, and some replace
# the previous row of their key.
LATEST = "from out qualify row_number() over (partition by {} order by filename desc, file_row_number desc) = 1"
TOGETHER = {
    "q4": LATEST.format("category"),
    "q6": LATEST.format("seller"),
    "q12": "select bidder, sum(bids)::bigint as bids from out group by bidder",
}
CHANGING = ["q9", "q18", "q19"]


def ask(db, query):
    return db.execute(query).fetchall()


def differences(db, query, out):
    files = glob.glob(f"{out}/**/*.parquet", recursive=True)
    if not files:
        return f"{query}: no file in {out}"
    parts = "hive_partitioning = true, hive_types_autocast = false" if query == "q10" else "hive_partitioning = false"
    db.execute(f"create or replace view out as from read_parquet({files!r}, filename = true, file_row_number = true, {parts})")
    db.execute(f"create or replace temp table expected as {QUERIES[query]}")
    names = ", ".join(f'"{row[0]}"' for row in ask(db, "describe expected"))
    together = TOGETHER.get(query, "from out")
    if query in CHANGING:
        db.execute(f"create or replace temp table sums as select {names}, sum(if(op = 'insert', 1, -1)) as n from out group by all")
        if below := ask(db, "from sums where n < 0 limit 3"):
            return f"{query}: rows are deleted more often than inserted: {below}"
        together = "select * exclude (n) from sums, range(n::bigint)"
    db.execute(f"create or replace temp table found as select {names} from ({together})")
    db.execute("create or replace temp table lacks as from expected except all from found")
    db.execute("create or replace temp table more as from found except all from expected")
    [(expected, lacks, more)] = ask(db, "select (select count(*) from expected), (select count(*) from lacks), (select count(*) from more)")
    if expected == 0:
        return f"{query}: nothing is expected, so nothing is compared"
    if lacks or more:
        some = "\n".join(map(str, ask(db, "from lacks limit 3") + ["instead:"] + ask(db, "from more limit 3")))
        return f"{query}: of {expected} rows {lacks} are missing, and {more} are too many:\n{some}"
    print(f"{query}: {expected} rows, as expected")
    return None


def main():
    db = duckdb.connect()
    db.execute("set timezone = 'UTC'; set threads = 2; set memory_limit = '2GB'")
    for event in ["person", "auction", "bid"]:
        # In the order of creation.
        files = f"'{sys.argv[1]}/{event}/**/*.parquet', hive_partitioning = false, filename = true, file_row_number = true"
        db.execute(f"create table {event} as select * exclude (filename, file_row_number) from read_parquet({files}) order by filename, file_row_number")
    db.execute("alter table bid rename to bids; create table bid as select *, row_number() over () as seq from bids")
    asked = iter(sys.argv[2:])
    wrong = [found for query in asked if (found := differences(db, query, next(asked)))]
    print("\n".join(wrong))
    sys.exit(1 if wrong else 0)


main()

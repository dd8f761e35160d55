/* The plugin ledger-2 in C. */
#include <millstream.h>

#include <inttypes.h>

#define LINE(COLUMN) COLUMN(int64_t, n)
MS_ROW(line, LINE);

/* The account of a key in version 0.1. */
#define ACCOUNT(COLUMN) \
    COLUMN(int64_t, rows) \
    COLUMN(int64_t, digest)
MS_ROW(account, ACCOUNT);

#define BOOK(COLUMN) \
    COLUMN(int64_t, digest) \
    COLUMN(int64_t, place) \
    COLUMN(ms_opt_int64, taken_over) \
    COLUMN(ms_text, note)
MS_ROW(book, BOOK);

#define ENTRY(COLUMN) \
    COLUMN(int64_t, n) \
    COLUMN(int64_t, place) \
    COLUMN(int64_t, digest)
MS_ROW(entry, ENTRY);

#define CLOSES 17

static book book_of_account(const account *old, ms_call *call)
{
    (void)call;
    return (book){old->digest, old->rows, {true, old->rows}, ms_format("%" PRId64 " rows before", old->rows)};
}

MS_MIGRATE(account, book, book_of_account);

static ms_status ledger(ms_rows *lines, book *book, ms_out *out, ms_call *call)
{
    line line;
    bool is_open = call->known;
    while (line_next(lines, &line)) {
        book->place++;
        book->digest = (int64_t)((uint64_t)book->digest * 1000003u + (uint64_t)line.n);
        entry_push(out, (entry){line.n, book->place, book->digest});
        is_open = line.n % CLOSES != 0;
        if (!is_open)
            memset(book, 0, sizeof *book);
    }
    if (is_open && call->timed_out)
        entry_push(out, (entry){-1, book->place, book->digest});
    return is_open ? MS_OK : MS_REMOVE;
}

MS_UPDATE(line, book, entry, ledger, MS_KEYED, MS_MIGRATIONS(&book_of_account_migration));

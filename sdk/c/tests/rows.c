/* Values of every type, with and without nulls, as input and output; rejected rows. */
#include <millstream.h>
#include <millstream/test.h>

#include <stdio.h>

#define VALUES(COLUMN)                                                                                                 \
    COLUMN(bool, flag)                                                                                                 \
    COLUMN(int64_t, whole, "int")                                                                                      \
    COLUMN(double, number)                                                                                             \
    COLUMN(ms_text, text)                                                                                              \
    COLUMN(ms_binary, bytes)                                                                                           \
    COLUMN(ms_timestamp, at)                                                                                           \
    COLUMN(ms_opt_bool, opt_flag)                                                                                      \
    COLUMN(ms_opt_int64, opt_int)                                                                                      \
    COLUMN(ms_opt_double, opt_number)                                                                                  \
    COLUMN(ms_opt_text, opt_text)                                                                                      \
    COLUMN(ms_opt_binary, opt_bytes)                                                                                   \
    COLUMN(ms_opt_timestamp, opt_at)
MS_ROW(values, VALUES);

/* Returns each row the number of times in its column, then rejects it if its text is `no`. */
static ms_status repeat(const values *row, ms_out *out, ms_call *call)
{
    for (int64_t i = 0; i < row->whole; i++)
        values_push(out, *row);
    if (ms_text_is(row->text, "no"))
        return ms_reject(call, "%s is %.*s", ms_number(row->number), MS_PRINT(row->text));
    if (ms_text_is(row->text, "fail"))
        return ms_fail(call, "cannot go on after %d rows", (int)row->whole);
    return MS_OK;
}

MS_TRANSFORM(values, values, repeat);

#define SET                                                                                                            \
    "'flag': true, 'int': 1, 'number': -0.5, 'text': 'äöü', 'bytes': '00ff', 'at': -1, 'opt_flag': false, "           \
    "'opt_int': 9223372036854775807, 'opt_number': 1e300, 'opt_text': '', 'opt_bytes': '', 'opt_at': 0"
#define UNSET                                                                                                          \
    "'flag': false, 'int': 1, 'number': 0, 'text': '', 'bytes': '', 'at': 0, 'opt_flag': null, 'opt_int': null, "      \
    "'opt_number': null, 'opt_text': null, 'opt_bytes': null, 'opt_at': null"

static void values_come_out_as_they_went_in(ms_test *test)
{
    ms_run run = ms_test_run(test, "[{" SET "}, {" UNSET "}, {" SET "}]");
    MS_EXPECT_JSON(run.rows, "[{" SET "}, {" UNSET "}, {" SET "}]");
    MS_EXPECT_JSON(run.rejected, "[]");
    run = ms_test_run(test, "[]");
    MS_EXPECT_JSON(run.rows, "[]");
}

static void refused_rows_leave_nothing_behind(ms_test *test)
{
    const char *row = "{'flag': true, 'int': %d, 'number': 1.25, 'text': '%s', 'bytes': '', 'at': 0}";
    char rows[1000] = "[", expected[1000] = "[";
    const char *texts[] = {"a", "no", "b", "no", "c"};
    for (int i = 0; i < 5; i++) {
        if (i)
            strcat(rows, ", ");
        sprintf(rows + strlen(rows), row, i + 1, texts[i]);
    }
    strcat(rows, "]");
    for (int i = 0; i < 9; i++) {
        strcat(expected, i ? ", " : "");
        sprintf(expected + strlen(expected), "'%s'", i < 1 ? "a" : i < 4 ? "b" : "c");
    }
    strcat(expected, "]");
    ms_run run = ms_test_run(test, rows);
    MS_EXPECT(run.rows && strlen(run.rows) > 0);
    MS_EXPECT_JSON(run.rejected, "[{'row': 1, 'reason': '1.25 is no'}, {'row': 3, 'reason': '1.25 is no'}]");
    /* Shows only the texts: one for each returned row. */
    char found[1000] = "[";
    for (const char *at = run.rows; at && (at = strstr(at, "\"text\": \"")); at += 9) {
        strcat(found, found[1] ? ", " : "");
        sprintf(found + strlen(found), "'%c'", at[9]);
    }
    strcat(found, "]");
    MS_EXPECT_JSON(found, expected);
}

static void nulls_are_refused_where_there_may_be_none(ms_test *test)
{
    ms_run run = ms_test_run(test, "[{" SET "}, {'flag': true, 'number': 1, 'bytes': '', 'at': 0}, {" UNSET "},"
                                   " {'int': 1, 'number': 1, 'text': '', 'bytes': '', 'at': 0}]");
    MS_EXPECT_JSON(run.rows, "[{" SET "}, {" UNSET "}]");
    MS_EXPECT_JSON(run.rejected, "[{'row': 1, 'reason': 'column `int` is null'}, {'row': 3, 'reason': 'column `flag` is null'}]");
}

static void failures_tell_their_place(ms_test *test)
{
    ms_run run = ms_test_run(test, "[{'flag': true, 'int': 3, 'number': 1, 'text': 'fail', 'bytes': '', 'at': 0}]");
    MS_EXPECT(!run.rows && strstr(run.error, "internal: ") == run.error);
    MS_EXPECT(strstr(run.error, "rows.c:30: cannot go on after 3 rows") != NULL);
}

/* More rows and bytes than are allocated at first. */
static void outputs_grow(ms_test *test)
{
    ms_run run = ms_test_run(test, "[{'flag': true, 'int': 5000, 'number': 1, 'text': 'a longer text than sixteen bytes',"
                                   " 'bytes': '00112233445566778899aabbccddeeff0011', 'at': 0, 'opt_text': 'x'}]");
    size_t rows = 0;
    for (const char *at = run.rows; at && (at = strstr(at, "a longer text than sixteen bytes")); at++)
        rows++;
    MS_EXPECT(rows == 5000);
}

int main(void)
{
    ms_test test = {0}, configured = {.config = "{'a': 1}"};
    ms_run run = ms_test_describe(&test);
    const char *columns = "flag bool not null, int int64 not null, number float64 not null, text text not null, "
                          "bytes binary not null, at timestamp not null, opt_flag bool, opt_int int64, "
                          "opt_number float64, opt_text text, opt_bytes binary, opt_at timestamp";
    char expected[1000];
    sprintf(expected, "{'inputs': ['%s'], 'output': '%s', 'state': '', 'inverse': false, 'key': null}", columns, columns);
    MS_EXPECT_JSON(run.rows, expected);
    values_come_out_as_they_went_in(&test);
    refused_rows_leave_nothing_behind(&test);
    nulls_are_refused_where_there_may_be_none(&test);
    failures_tell_their_place(&test);
    outputs_grow(&test);
    MS_EXPECT(strcmp(ms_test_run(&configured, "[]").error, "config: this plugin takes no config") == 0);
    return ms_test_end();
}

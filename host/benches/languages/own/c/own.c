/* The works of the benchmark in C. See README.md. */

#define _POSIX_C_SOURCE 200809L
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* What there is to read, in both styles: an array of structs for rows, arrays for columns. */
typedef struct { const char *data; size_t length; } text;
typedef struct { double a, b; } pair;
typedef struct { text key; const int64_t *old; const int64_t *amounts; size_t count; } group;

static text *lines;
static size_t line_count, row_count;
static pair *pairs;
static double *as, *bs;
static group *groups;
static int64_t *amounts, *olds;
static uint32_t *ends;

/* What a call makes: texts as bytes with the end of each, and numbers. It is kept until the next call. */
static struct {
    size_t rows;
    char *bytes;
    uint32_t *text_ends;
    double *floats;
    int64_t *integers, *states;
} made;

static void *room(size_t bytes) {
    void *all = malloc(bytes ? bytes : 1);
    if (!all) abort();
    return all;
}

static void forget(void) {
    free(made.bytes);
    free(made.text_ends);
    free(made.floats);
    free(made.integers);
    free(made.states);
    memset(&made, 0, sizeof made);
}

static void split(void) {
    size_t bytes = 0, capacity = 1024, used = 0;
    for (size_t i = 0; i < line_count; i++) bytes += lines[i].length;
    made.bytes = room(bytes);
    made.text_ends = room(capacity * sizeof *made.text_ends);
    for (size_t i = 0; i < line_count; i++) {
        const char *at = lines[i].data, *end = at + lines[i].length;
        while (at < end) {
            const char *start = at;
            while (at < end && *at != ' ') at++;
            if (at > start) {
                memcpy(made.bytes + used, start, at - start);
                used += at - start;
                if (made.rows == capacity) {
                    capacity *= 2;
                    made.text_ends = realloc(made.text_ends, capacity * sizeof *made.text_ends);
                    if (!made.text_ends) abort();
                }
                made.text_ends[made.rows++] = used;
            }
            at++;
        }
    }
}

static void numeric_rows(void) {
    made.floats = room(row_count * sizeof *made.floats);
    for (size_t i = 0; i < row_count; i++) made.floats[i] = pairs[i].a * 2.5 + pairs[i].b;
    made.rows = row_count;
}

static void numeric_columns(void) {
    made.floats = room(row_count * sizeof *made.floats);
    for (size_t i = 0; i < row_count; i++) made.floats[i] = as[i] * 2.5 + bs[i];
    made.rows = row_count;
}

static int64_t total(const int64_t *payments, size_t count, const int64_t *old) {
    int64_t sum = old ? *old : 0;
    for (size_t i = 0; i < count; i++) sum += payments[i];
    return sum;
}

static void keys_made(void) {
    size_t bytes = 0, used = 0;
    for (size_t i = 0; i < line_count; i++) bytes += groups[i].key.length;
    made.bytes = room(bytes);
    made.text_ends = room(line_count * sizeof *made.text_ends);
    for (size_t i = 0; i < line_count; i++) {
        memcpy(made.bytes + used, groups[i].key.data, groups[i].key.length);
        made.text_ends[i] = used += groups[i].key.length;
    }
    made.integers = room(line_count * sizeof *made.integers);
    made.states = room(line_count * sizeof *made.states);
    made.rows = line_count;
}

static void total_rows(void) {
    keys_made();
    for (size_t i = 0; i < line_count; i++)
        made.integers[i] = made.states[i] = total(groups[i].amounts, groups[i].count, groups[i].old);
}

static void total_columns(void) {
    keys_made();
    for (size_t i = 0, start = 0; i < line_count; start = ends[i++])
        made.integers[i] = made.states[i] = total(amounts + start, ends[i] - start, olds + i);
}

/* Sets `lines`. */
static void read_lines(const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END)) abort();
    long size = ftell(file);
    rewind(file);
    char *all = room(size + 1);
    if (size < 0 || fread(all, 1, size, file) != (size_t)size) abort();
    all[size] = 0;
    fclose(file);
    lines = room((size + 1) * sizeof *lines);
    for (char *at = all; *at;) {
        size_t length = strcspn(at, "\n");
        lines[line_count++] = (text){at, length};
        at += length;
        if (*at) *at++ = 0;
    }
}

static void read_pairs(void) {
    pairs = room(row_count * sizeof *pairs);
    as = room(row_count * sizeof *as);
    bs = room(row_count * sizeof *bs);
    for (size_t i = 0; i < row_count; i++) {
        char *rest;
        as[i] = pairs[i].a = strtod(lines[i].data, &rest);
        bs[i] = pairs[i].b = strtod(rest, NULL);
    }
}

static void read_groups(void) {
    groups = room(line_count * sizeof *groups);
    amounts = room(row_count * sizeof *amounts);
    olds = room(line_count * sizeof *olds);
    ends = room(line_count * sizeof *ends);
    size_t row = 0;
    for (size_t i = 0; i < line_count; i++) {
        size_t length = strcspn(lines[i].data, " ");
        char *at = (char *)lines[i].data + length;
        olds[i] = strtoll(at, &at, 10);
        groups[i] = (group){{lines[i].data, length}, olds + i, amounts + row, 0};
        while (*at) {
            amounts[row++] = strtoll(at, &at, 10);
            groups[i].count++;
        }
        ends[i] = row;
    }
}

/* What the check adds up of a row. */
static double number(size_t row) {
    if (made.floats) return made.floats[row];
    if (made.integers) return made.integers[row];
    return made.text_ends[row] - (row ? made.text_ends[row - 1] : 0);
}

static double now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1e9 + now.tv_nsec;
}

int main(int argc, char **argv) {
    if (argc != 5) return 2;
    bool rows = !strcmp(argv[2], "rows");
    void (*run)(void) = split;
    read_lines(argv[3]);
    row_count = strtoull(argv[4], NULL, 10);
    if (!strcmp(argv[1], "numeric")) {
        read_pairs();
        run = rows ? numeric_rows : numeric_columns;
    } else if (!strcmp(argv[1], "total")) {
        read_groups();
        run = rows ? total_rows : total_columns;
    }
    char order[32];
    while (fgets(order, sizeof order, stdin)) {
        if (!strcmp(order, "check\n")) {
            forget();
            run();
            double sum = 0;
            for (size_t i = 0; i < made.rows; i++) sum += number(i) * (i % 1000);
            printf("%zu %.17g\n", made.rows, sum);
        } else {
            long calls = strtol(order, NULL, 10);
            double start = now_ns();
            for (long i = 0; i < calls; i++) {
                forget();
                run();
            }
            printf("%.17g\n", (now_ns() - start) / calls / row_count);
        }
        fflush(stdout);
    }
}

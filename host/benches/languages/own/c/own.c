/* The benchmark functions in C. See languages/README.md. */

#define _POSIX_C_SOURCE 200809L
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* The input in both styles: an array of structs for rows, arrays for columns. */
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

/* The output of a call: strings as bytes with the end of each, and numbers. It stays allocated until the next call. */
static struct {
    size_t rows;
    char *bytes;
    uint32_t *text_ends;
    double *floats;
    int64_t *integers, *states;
} output;

static void *allocate(size_t bytes) {
    void *memory = malloc(bytes ? bytes : 1);
    if (!memory) abort();
    return memory;
}

static void free_output(void) {
    free(output.bytes);
    free(output.text_ends);
    free(output.floats);
    free(output.integers);
    free(output.states);
    memset(&output, 0, sizeof output);
}

static void split(void) {
    size_t bytes = 0, capacity = 1024, used = 0;
    for (size_t i = 0; i < line_count; i++) bytes += lines[i].length;
    output.bytes = allocate(bytes);
    output.text_ends = allocate(capacity * sizeof *output.text_ends);
    for (size_t i = 0; i < line_count; i++) {
        const char *at = lines[i].data, *end = at + lines[i].length;
        while (at < end) {
            const char *start = at;
            while (at < end && *at != ' ') at++;
            if (at > start) {
                memcpy(output.bytes + used, start, at - start);
                used += at - start;
                if (output.rows == capacity) {
                    capacity *= 2;
                    output.text_ends = realloc(output.text_ends, capacity * sizeof *output.text_ends);
                    if (!output.text_ends) abort();
                }
                output.text_ends[output.rows++] = used;
            }
            at++;
        }
    }
}

static void numeric_rows(void) {
    output.floats = allocate(row_count * sizeof *output.floats);
    for (size_t i = 0; i < row_count; i++) output.floats[i] = pairs[i].a * 2.5 + pairs[i].b;
    output.rows = row_count;
}

static void numeric_columns(void) {
    output.floats = allocate(row_count * sizeof *output.floats);
    for (size_t i = 0; i < row_count; i++) output.floats[i] = as[i] * 2.5 + bs[i];
    output.rows = row_count;
}

static int64_t total(const int64_t *payments, size_t count, const int64_t *old) {
    int64_t sum = old ? *old : 0;
    for (size_t i = 0; i < count; i++) sum += payments[i];
    return sum;
}

static void copy_keys(void) {
    size_t bytes = 0, used = 0;
    for (size_t i = 0; i < line_count; i++) bytes += groups[i].key.length;
    output.bytes = allocate(bytes);
    output.text_ends = allocate(line_count * sizeof *output.text_ends);
    for (size_t i = 0; i < line_count; i++) {
        memcpy(output.bytes + used, groups[i].key.data, groups[i].key.length);
        output.text_ends[i] = used += groups[i].key.length;
    }
    output.integers = allocate(line_count * sizeof *output.integers);
    output.states = allocate(line_count * sizeof *output.states);
    output.rows = line_count;
}

static void total_rows(void) {
    copy_keys();
    for (size_t i = 0; i < line_count; i++)
        output.integers[i] = output.states[i] = total(groups[i].amounts, groups[i].count, groups[i].old);
}

static void total_columns(void) {
    copy_keys();
    for (size_t i = 0, start = 0; i < line_count; start = ends[i++])
        output.integers[i] = output.states[i] = total(amounts + start, ends[i] - start, olds + i);
}

/* Reads the file into `lines`. */
static void read_lines(const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END)) abort();
    long size = ftell(file);
    rewind(file);
    char *all = allocate(size + 1);
    if (size < 0 || fread(all, 1, size, file) != (size_t)size) abort();
    all[size] = 0;
    fclose(file);
    lines = allocate((size + 1) * sizeof *lines);
    for (char *at = all; *at;) {
        size_t length = strcspn(at, "\n");
        lines[line_count++] = (text){at, length};
        at += length;
        if (*at) *at++ = 0;
    }
}

static void read_pairs(void) {
    pairs = allocate(row_count * sizeof *pairs);
    as = allocate(row_count * sizeof *as);
    bs = allocate(row_count * sizeof *bs);
    for (size_t i = 0; i < row_count; i++) {
        char *rest;
        as[i] = pairs[i].a = strtod(lines[i].data, &rest);
        bs[i] = pairs[i].b = strtod(rest, NULL);
    }
}

static void read_groups(void) {
    groups = allocate(line_count * sizeof *groups);
    amounts = allocate(row_count * sizeof *amounts);
    olds = allocate(line_count * sizeof *olds);
    ends = allocate(line_count * sizeof *ends);
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

/* The number of a row that the check sums. */
static double number(size_t row) {
    if (output.floats) return output.floats[row];
    if (output.integers) return output.integers[row];
    return output.text_ends[row] - (row ? output.text_ends[row - 1] : 0);
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
    char command[32];
    while (fgets(command, sizeof command, stdin)) {
        if (!strcmp(command, "check\n")) {
            free_output();
            run();
            double sum = 0;
            for (size_t i = 0; i < output.rows; i++) sum += number(i) * (i % 1000);
            printf("%zu %.17g\n", output.rows, sum);
        } else {
            long calls = strtol(command, NULL, 10);
            double start = now_ns();
            for (long i = 0; i < calls; i++) {
                free_output();
                run();
            }
            printf("%.17g\n", (now_ns() - start) / calls / row_count);
        }
        fflush(stdout);
    }
}

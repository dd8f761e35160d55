/* Output rows. */
#include "engine.h"

static bool has_offsets(const ms_field *field)
{
    return field->type == MS_TEXT || field->type == MS_BINARY || ms_is_written(field);
}

static size_t bits_bytes(uint32_t rows)
{
    return ((size_t)rows + 7) / 8;
}

static void *grow(void *memory, size_t size)
{
    return ms_arena_grow(&ms_call_memory, memory, size);
}

ms_schema ms_row_schema(const ms_row *row)
{
    return row ? (ms_schema){row->fields, row->width} : (ms_schema){NULL, 0};
}

static void reserve_rows(ms_out *out, uint32_t capacity)
{
    for (uint32_t i = 0; i < out->width; i++) {
        ms_out_column *column = &out->columns[i];
        const ms_field *field = &out->schema.fields[i];
        if (has_offsets(field))
            column->offsets = grow(column->offsets, ((size_t)capacity + 1) * sizeof *column->offsets);
        else if (field->type == MS_BOOL)
            column->values = grow(column->values, bits_bytes(capacity));
        else
            column->values = grow(column->values, (size_t)capacity * 8);
        if (field->nullable)
            column->validity = grow(column->validity, bits_bytes(capacity));
    }
    if (out->groups)
        out->groups = grow(out->groups, (size_t)capacity * sizeof *out->groups);
    out->capacity = capacity;
}

void ms_out_init(ms_out *out, ms_schema schema, bool keyed, uint32_t rows, size_t bytes)
{
    uint32_t capacity = rows < 8 ? 8 : rows;
    memset(out, 0, sizeof *out);
    out->schema = schema;
    out->width = (uint32_t)schema.width;
    out->columns = ms_alloc(schema.width * sizeof *out->columns);
    memset(out->columns, 0, schema.width * sizeof *out->columns);
    if (keyed)
        out->groups = grow(NULL, (size_t)capacity * sizeof *out->groups);
    reserve_rows(out, capacity);
    for (uint32_t i = 0; i < out->width; i++) {
        if (has_offsets(&schema.fields[i])) {
            out->columns[i].offsets[0] = 0;
            ms_out_column_grow(&out->columns[i], bytes);
        }
    }
}

void ms_out_grow(ms_out *out, uint32_t rows)
{
    ms_assert(rows <= UINT32_MAX / 2 - out->capacity);
    uint32_t needed = out->rows + rows;
    uint32_t twice = out->capacity * 2;
    reserve_rows(out, needed > twice ? needed : twice);
}

void ms_out_column_grow(ms_out_column *column, size_t bytes)
{
    size_t needed = column->length + bytes;
    size_t twice = column->capacity * 2;
    column->capacity = needed > twice ? needed : twice;
    column->values = grow(column->values, column->capacity + MS_SLACK);
}

void ms_out_truncate(ms_out *out, uint32_t rows)
{
    out->rows = rows;
    for (uint32_t i = 0; i < out->width; i++) {
        if (out->columns[i].offsets)
            out->columns[i].length = out->columns[i].offsets[rows];
    }
}

void ms_out_extend(ms_out *out, uint32_t rows)
{
    if (rows > out->capacity - out->rows)
        ms_out_grow(out, rows);
    for (uint32_t i = 0; i < out->width; i++) {
        ms_out_column *column = &out->columns[i];
        for (uint32_t row = out->rows; row < out->rows + rows; row++) {
            if (column->offsets)
                column->offsets[row + 1] = (uint32_t)column->length;
            if (column->validity)
                ms_set_bit(column->validity, row, true);
        }
    }
    for (uint32_t row = out->rows; out->groups && row < out->rows + rows; row++)
        out->groups[row] = out->group;
    out->rows += rows;
}

void ms_out_pass(ms_out *out, uint32_t column, const ms_column *passed)
{
    out->columns[column].passed = passed;
}

/* Returns the finished column. */
static ms_column column_of(const ms_out *out, uint32_t index)
{
    const ms_out_column *column = &out->columns[index];
    if (column->passed)
        return *column->passed;
    ms_column finished = {{0}, {0}, {column->values, (size_t)out->rows * 8}};
    if (column->offsets) {
        finished.offsets = (ms_buffer){column->offsets, ((size_t)out->rows + 1) * 4};
        finished.data.length = column->length;
    } else if (out->schema.fields[index].type == MS_BOOL) {
        finished.data.length = bits_bytes(out->rows);
    }
    if (column->has_nulls)
        finished.validity = (ms_buffer){column->validity, bits_bytes(out->rows)};
    return finished;
}

static ms_buffer take_bits(const void *bits, const uint32_t *rows, uint32_t count)
{
    uint8_t *taken = ms_alloc(bits_bytes(count));
    for (uint32_t i = 0; i < count; i++)
        ms_set_bit(taken, i, ms_bit(bits, rows[i]));
    return (ms_buffer){taken, bits_bytes(count)};
}

static void take_bytes(const ms_column *column, const uint32_t *rows, uint32_t count, ms_column *taken)
{
    const uint32_t *offsets = column->offsets.data;
    uint32_t *ends = ms_alloc(((size_t)count + 1) * sizeof *ends);
    size_t length = 0;
    ends[0] = 0;
    for (uint32_t i = 0; i < count; i++) {
        length += offsets[rows[i] + 1] - offsets[rows[i]];
        ends[i + 1] = (uint32_t)length;
    }
    ms_assert(length <= INT32_MAX);
    uint8_t *data = ms_alloc(length);
    for (uint32_t i = 0; i < count; i++)
        memcpy(data + ends[i], (const uint8_t *)column->data.data + offsets[rows[i]], ends[i + 1] - ends[i]);
    taken->offsets = (ms_buffer){ends, ((size_t)count + 1) * 4};
    taken->data = (ms_buffer){data, length};
}

/* Returns the rows with these indexes. */
static bool take(ms_call *call, const ms_column *column, const ms_field *field, const uint32_t *rows, uint32_t count,
                 ms_column *taken)
{
    memset(taken, 0, sizeof *taken);
    if (column->validity.data)
        taken->validity = take_bits(column->validity.data, rows, count);
    if (field->type == MS_ARROW && !ms_is_written(field)) {
        ms_failed(call, MS_ERROR_INPUT,
                  "a column of type %.*s cannot be taken apart by a plugin: cast or drop it before",
                  MS_PRINT(field->arrow));
        return false;
    }
    if (has_offsets(field)) {
        take_bytes(column, rows, count, taken);
    } else if (field->type == MS_BOOL) {
        taken->data = take_bits(column->data.data, rows, count);
    } else {
        uint64_t *values = ms_alloc((size_t)count * 8);
        for (uint32_t i = 0; i < count; i++)
            values[i] = ((const uint64_t *)column->data.data)[rows[i]];
        taken->data = (ms_buffer){values, (size_t)count * 8};
    }
    return true;
}

/* Usually each group has one row. Then the key columns are returned unchanged. */
static bool each_group_once(const ms_out *out, const ms_batch *keys)
{
    if (out->rows != keys->rows)
        return false;
    for (uint32_t i = 0; i < out->rows; i++) {
        if (out->groups[i] != i)
            return false;
    }
    return true;
}

bool ms_out_finish(ms_call *call, ms_out *out, const ms_batch *keys, ms_batch *batch)
{
    uint32_t key_width = out->groups ? keys->width : 0;
    ms_column *columns = ms_alloc(((size_t)key_width + out->width) * sizeof *columns);
    if (key_width && each_group_once(out, keys)) {
        memcpy(columns, keys->columns, key_width * sizeof *columns);
    } else if (key_width) {
        ms_schema schema = ms_key_schema(call);
        ms_assert(schema.width == key_width);
        for (uint32_t i = 0; i < key_width; i++) {
            if (!take(call, &keys->columns[i], &schema.fields[i], out->groups, out->rows, &columns[i]))
                return false;
        }
    }
    for (uint32_t i = 0; i < out->width; i++) {
        if (out->columns[i].offsets && out->columns[i].length > INT32_MAX) {
            ms_failed(call, MS_ERROR_INTERNAL, "a column of text or binary grew above 2 GiB in one call");
            return false;
        }
        columns[key_width + i] = column_of(out, i);
    }
    *batch = (ms_batch){out->rows, key_width + out->width, columns};
    return true;
}

size_t ms_batch_bytes(const ms_batch *batch)
{
    size_t bytes = 0;
    for (uint32_t i = 0; i < batch->width; i++)
        bytes += batch->columns[i].data.length;
    return bytes;
}

bool ms_check_batch(ms_call *call, const ms_batch *batch, const ms_row *row)
{
    for (uint32_t i = 0; i < row->width; i++) {
        const ms_field *field = &row->fields[i];
        const ms_column *column = &batch->columns[i];
        const char *wrong = NULL;
        if (i >= batch->width) {
            wrong = "it is missing";
        } else if (batch->rows > 0) {
            size_t least = field->type == MS_BOOL ? bits_bytes(batch->rows) : (size_t)batch->rows * 8;
            if (column->validity.data && column->validity.length < bits_bytes(batch->rows))
                wrong = "its validity is too short";
            else if (has_offsets(field) && column->offsets.length < ((size_t)batch->rows + 1) * 4)
                wrong = "its offsets are too short";
            else if (!has_offsets(field) && column->data.length < least)
                wrong = "its values are too short";
        }
        if (wrong) {
            ms_failed(call, MS_ERROR_INPUT, "column `%.*s` (number %u): %s", MS_PRINT(field->name), (unsigned)i, wrong);
            return false;
        }
    }
    return true;
}

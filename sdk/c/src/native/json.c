/* Converts batches from JSON and back. */
#include "native.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

ms_arena ms_test_memory;

static const char *const type_names[] = {"bool", "int64", "float64", "text", "binary", "timestamp"};

void ms_test_wrong(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("the test is wrong: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(2);
}

void ms_write(ms_writer *to, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    ms_text more = ms_arena_format(&ms_call_memory, format, arguments);
    va_end(arguments);
    if (more.length + 1 > to->capacity - to->length) {
        to->capacity = (to->length + more.length + 1) * 2;
        to->text = ms_arena_grow(&ms_test_memory, to->text, to->capacity);
    }
    memcpy(to->text + to->length, more.data, more.length + 1);
    to->length += more.length;
}

const ms_json *ms_test_json(const char *text)
{
    const char *wrong;
    const ms_json *json = ms_json_parse(&ms_test_memory, (ms_text){text, strlen(text)}, true, &wrong);
    if (!json)
        ms_test_wrong("%s: %s", wrong, text);
    return json;
}

const ms_json *ms_json_get(const ms_json *object, ms_text name)
{
    for (const ms_json *value = object->first; value; value = value->next) {
        if (ms_text_equals(value->name, name))
            return value;
    }
    return NULL;
}

static bool is_number(const ms_json *json)
{
    return json->kind == MS_JSON_INTEGER || json->kind == MS_JSON_NUMBER;
}

bool ms_json_equal(const ms_json *left, const ms_json *right)
{
    if (left->kind == MS_JSON_INTEGER && right->kind == MS_JSON_INTEGER)
        return left->integer == right->integer;
    if (is_number(left) && is_number(right))
        return left->number == right->number;
    if (left->kind != right->kind || left->count != right->count)
        return false;
    if (left->kind == MS_JSON_BOOL)
        return left->boolean == right->boolean;
    if (left->kind == MS_JSON_TEXT)
        return ms_text_equals(left->text, right->text);
    const ms_json *other = right->first;
    for (const ms_json *value = left->first; value; value = value->next, other = other->next) {
        const ms_json *same = left->kind == MS_JSON_OBJECT ? ms_json_get(right, value->name) : other;
        if (!same || !ms_json_equal(value, same))
            return false;
    }
    return true;
}

const ms_json **ms_json_items(const ms_json *list, uint32_t *count)
{
    if (list->kind != MS_JSON_LIST)
        ms_test_wrong("rows are a list of objects");
    const ms_json **items = ms_arena_alloc(&ms_test_memory, list->count * sizeof *items);
    *count = 0;
    for (const ms_json *item = list->first; item; item = item->next)
        items[(*count)++] = item;
    return items;
}

static void write_text(ms_writer *to, ms_text text)
{
    ms_write(to, "\"");
    for (size_t i = 0; i < text.length; i++) {
        unsigned char c = (unsigned char)text.data[i];
        if (c == '"' || c == '\\')
            ms_write(to, "\\%c", c);
        else if (c < ' ')
            ms_write(to, "\\u%04x", c);
        else
            ms_write(to, "%c", c);
    }
    ms_write(to, "\"");
}

void ms_write_json(ms_writer *to, const ms_json *json)
{
    bool is_object = json->kind == MS_JSON_OBJECT;
    switch (json->kind) {
    case MS_JSON_NULL:
        ms_write(to, "null");
        return;
    case MS_JSON_BOOL:
        ms_write(to, json->boolean ? "true" : "false");
        return;
    case MS_JSON_INTEGER:
        ms_write(to, "%lld", (long long)json->integer);
        return;
    case MS_JSON_NUMBER:
        ms_write(to, "%s", ms_number(json->number));
        return;
    case MS_JSON_TEXT:
        write_text(to, json->text);
        return;
    default:
        break;
    }
    ms_write(to, is_object ? "{" : "[");
    for (const ms_json *value = json->first; value; value = value->next) {
        if (is_object) {
            write_text(to, value->name);
            ms_write(to, ": ");
        }
        ms_write_json(to, value);
        ms_write(to, value->next ? ", " : "");
    }
    ms_write(to, is_object ? "}" : "]");
}

/* Takes the next part between commas, except within the brackets of a type. */
static bool next_column(ms_text *rest, ms_text *column)
{
    size_t end = 0;
    int depth = 0;
    if (!rest->length)
        return false;
    for (; end < rest->length && (rest->data[end] != ',' || depth > 0); end++) {
        depth += rest->data[end] == '<' || rest->data[end] == '(';
        depth -= rest->data[end] == '>' || rest->data[end] == ')';
    }
    *column = (ms_text){rest->data, end};
    end += end < rest->length;
    *rest = (ms_text){rest->data + end, rest->length - end};
    return true;
}

static ms_text trimmed(ms_text text)
{
    while (text.length && *text.data == ' ')
        text = (ms_text){text.data + 1, text.length - 1};
    while (text.length && text.data[text.length - 1] == ' ')
        text.length--;
    return text;
}

ms_schema ms_test_schema(const char *columns)
{
    ms_text rest = {columns ? columns : "", columns ? strlen(columns) : 0};
    ms_field *fields = ms_arena_alloc(&ms_test_memory, (rest.length / 2 + 1) * sizeof *fields);
    size_t width = 0;
    for (ms_text column; next_column(&rest, &column); width++) {
        ms_text name = trimmed(column);
        const char *space = name.length ? memchr(name.data, ' ', name.length) : NULL;
        size_t known = 0;
        if (!space)
            ms_test_wrong("`%.*s` is not a name and type; write it as `amount int64`", MS_PRINT(column));
        size_t before = (size_t)(space - name.data);
        ms_text type = trimmed((ms_text){space, name.length - before});
        while (known < MS_ARROW && !ms_text_is(type, type_names[known]))
            known++;
        fields[width] = (ms_field){ms_arena_copy(&ms_test_memory, (ms_text){name.data, before}), (ms_type)known, true,
                                   ms_arena_copy(&ms_test_memory, type)};
        if (known == MS_ARROW && !ms_is_written(&fields[width]))
            ms_test_wrong("`%.*s` is not a type; types are bool, int64, float64, text, binary, timestamp, date, decimal(…), "
                          "list<…> and struct<…>", MS_PRINT(type));
    }
    return (ms_schema){fields, width};
}

void ms_write_schema(ms_writer *to, ms_schema schema)
{
    for (size_t i = 0; i < schema.width; i++) {
        const ms_field *field = &schema.fields[i];
        ms_write(to, "%s%.*s %s%s", i ? ", " : "", MS_PRINT(field->name), ms_type_name(field),
                 field->nullable ? "" : " not null");
    }
}

static ms_opt_binary from_hex(ms_text text)
{
    uint8_t *bytes = ms_alloc(text.length / 2);
    for (size_t i = 0; i < text.length; i += 2) {
        char pair[3] = {text.data[i], i + 1 < text.length ? text.data[i + 1] : 0, 0};
        char *end;
        bytes[i / 2] = (uint8_t)strtoul(pair, &end, 16);
        if (end != pair + 2)
            return (ms_opt_binary){false, {NULL, 0}};
    }
    return (ms_opt_binary){true, {bytes, text.length / 2}};
}

/* Returns whether values are encoded as JSON. */
static bool is_nested(const ms_field *field)
{
    return ms_is_written(field) && field->arrow.data[field->arrow.length - 1] == '>';
}

static ms_text written(const ms_field *field, const ms_json *value)
{
    ms_writer to = {NULL, 0, 0};
    if (!is_nested(field))
        return value->text;
    ms_write_json(&to, value);
    return (ms_text){to.text, to.length};
}

/* Appends a value to a column. Returns false if it has another type. */
static bool append(ms_out_column *column, const ms_field *field, uint32_t row, const ms_json *value)
{
    bool is_null = !value || value->kind == MS_JSON_NULL;
    bool is_kind = is_null;
    ms_opt_binary binary = {false, {NULL, 0}};
    switch (field->type) {
    case MS_BOOL:
        is_kind |= !is_null && value->kind == MS_JSON_BOOL;
        ms_write_ms_opt_bool(column, row, (ms_opt_bool){!is_null, !is_null && value->boolean});
        break;
    case MS_INT64:
    case MS_TIMESTAMP:
        is_kind |= !is_null && value->kind == MS_JSON_INTEGER;
        ms_write_ms_opt_int64(column, row, (ms_opt_int64){!is_null, is_null ? 0 : value->integer});
        break;
    case MS_FLOAT64:
        is_kind |= !is_null && is_number(value);
        ms_write_ms_opt_double(column, row, (ms_opt_double){!is_null, is_null ? 0 : value->number});
        break;
    case MS_TEXT:
        is_kind |= !is_null && value->kind == MS_JSON_TEXT;
        ms_write_ms_opt_text(column, row, (ms_opt_text){!is_null, is_null ? (ms_text){NULL, 0} : value->text});
        break;
    case MS_ARROW:
        is_kind |= !is_null && (is_nested(field) || value->kind == MS_JSON_TEXT);
        ms_write_ms_opt_text(column, row, is_null ? (ms_opt_text){0} : (ms_opt_text){true, written(field, value)});
        break;
    default:
        if (!is_null && value->kind == MS_JSON_TEXT)
            binary = from_hex(value->text);
        is_kind |= binary.is_set;
        ms_write_ms_opt_binary(column, row, binary);
    }
    return is_kind;
}

ms_batch ms_batch_of_test(ms_call *call, ms_schema schema, const ms_json *const *rows, uint32_t count)
{
    ms_field *fields = ms_alloc(schema.width * sizeof *fields);
    ms_out out;
    ms_batch batch;
    for (size_t i = 0; i < schema.width; i++) {
        fields[i] = schema.fields[i];
        fields[i].nullable = true;
    }
    ms_out_init(&out, (ms_schema){fields, schema.width}, false, count, 0);
    for (uint32_t row = 0; row < count; row++) {
        ms_out_begin(&out);
        for (size_t i = 0; i < schema.width; i++) {
            const ms_json *value = rows[row] ? ms_json_get(rows[row], fields[i].name) : NULL;
            if (!append(&out.columns[i], &fields[i], row, value))
                ms_test_wrong("column `%.*s` is %s, which a row is not", MS_PRINT(fields[i].name),
                              ms_type_name(&fields[i]));
        }
    }
    if (!ms_out_finish(call, &out, NULL, &batch))
        ms_test_wrong("the rows are too large");
    return batch;
}

void ms_write_row(ms_writer *to, ms_schema schema, const ms_batch *batch, uint32_t row)
{
    for (uint32_t i = 0; i < schema.width; i++) {
        const ms_column *column = &batch->columns[i];
        ms_text text;
        ms_binary binary;
        write_text(to, schema.fields[i].name);
        ms_write(to, ": ");
        if (ms_is_null(column, row)) {
            ms_write(to, "null");
        } else if (schema.fields[i].type == MS_BOOL) {
            ms_write(to, ms_bit(column->data.data, row) ? "true" : "false");
        } else if (schema.fields[i].type == MS_FLOAT64) {
            double number = ms_doubles(batch, i)[row];
            ms_write(to, "%s", isfinite(number) ? ms_number(number) : "null");
        } else if (is_nested(&schema.fields[i])) {
            ms_read_ms_text(column, row, &text);
            ms_write(to, "%.*s", MS_PRINT(text));
        } else if (schema.fields[i].type == MS_TEXT || schema.fields[i].type == MS_ARROW) {
            ms_read_ms_text(column, row, &text);
            write_text(to, text);
        } else if (schema.fields[i].type == MS_BINARY) {
            ms_read_ms_binary(column, row, &binary);
            ms_write(to, "\"");
            for (size_t j = 0; j < binary.length; j++)
                ms_write(to, "%02x", binary.data[j]);
            ms_write(to, "\"");
        } else {
            ms_write(to, "%lld", (long long)ms_int64s(batch, i)[row]);
        }
        ms_write(to, i + 1 < schema.width ? ", " : "");
    }
}

const char *ms_test_rows(ms_schema schema, const ms_batch *batch)
{
    ms_writer to = {NULL, 0, 0};
    if (schema.width != batch->width)
        ms_test_wrong("%zu columns were described, %u returned", schema.width, (unsigned)batch->width);
    ms_write(&to, "[");
    for (uint32_t row = 0; row < batch->rows; row++) {
        ms_write(&to, row ? ", {" : "{");
        ms_write_row(&to, schema, batch, row);
        ms_write(&to, "}");
    }
    ms_write(&to, "]");
    return to.text;
}

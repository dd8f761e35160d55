/* The stage's config: parsed on the first call, and again when it changes. */
#include "engine.h"

#include <stdio.h>

/* A key that has been read. */
typedef struct read_key {
    struct read_key *before;
    const char *key;
} read_key;

struct ms_config {
    const ms_json *object;
    read_key *read_keys;
    bool is_wrong;
    ms_text wrong;
};

void ms_config_refuse(ms_config *from, const char *format, ...)
{
    va_list arguments;
    if (from->is_wrong)
        return;
    va_start(arguments, format);
    from->wrong = ms_arena_format(&ms_config_memory, format, arguments);
    from->is_wrong = true;
    va_end(arguments);
}

void *ms_config_alloc(ms_config *from, size_t size)
{
    (void)from;
    return ms_arena_alloc(&ms_config_memory, size);
}

const ms_json *ms_config_value(ms_config *from, const char *key)
{
    read_key *read = ms_arena_alloc(&ms_config_memory, sizeof *read);
    *read = (read_key){from->read_keys, key};
    from->read_keys = read;
    for (const ms_json *value = from->object->first; value; value = value->next) {
        if (ms_text_is(value->name, key))
            return value;
    }
    return NULL;
}

/* Describes a value for a message. */
static void describe(const ms_json *value, char *to, size_t size)
{
    switch (value->kind) {
    case MS_JSON_NULL:
        snprintf(to, size, "null");
        break;
    case MS_JSON_BOOL:
        snprintf(to, size, "boolean `%s`", value->boolean ? "true" : "false");
        break;
    case MS_JSON_INTEGER:
        snprintf(to, size, "integer `%lld`", (long long)value->integer);
        break;
    case MS_JSON_NUMBER:
        snprintf(to, size, "floating point `%s`", ms_number(value->number));
        break;
    case MS_JSON_TEXT:
        snprintf(to, size, "string \"%.*s\"", MS_PRINT(value->text));
        break;
    case MS_JSON_LIST:
        snprintf(to, size, "sequence");
        break;
    default:
        snprintf(to, size, "map");
    }
}

/* Returns whether a value is of a kind or can be converted to it. */
static bool is_kind(ms_config *from, const char *key, const ms_json *value, ms_json_kind kind, const char *expected)
{
    char found[256];
    if (value->kind == kind || (kind == MS_JSON_NUMBER && value->kind == MS_JSON_INTEGER))
        return true;
    describe(value, found, sizeof found);
    ms_config_refuse(from, "`%s`: invalid type: %s, expected %s", key, found, expected);
    return false;
}

/* Returns the value of a key if it is of this kind. */
static const ms_json *value_of(ms_config *from, const char *key, bool required, ms_json_kind kind, const char *expected)
{
    const ms_json *value = ms_config_value(from, key);
    if (!value) {
        if (required)
            ms_config_refuse(from, "missing field `%s`", key);
        return NULL;
    }
    return is_kind(from, key, value, kind, expected) ? value : NULL;
}

#define CONFIG_FUNCTIONS(name, type, kind, expected, member, nothing)                                                  \
    type ms_config_##name(ms_config *from, const char *key)                                                            \
    {                                                                                                                  \
        const ms_json *value = value_of(from, key, true, kind, expected);                                              \
        return value ? value->member : nothing;                                                                        \
    }                                                                                                                  \
    type ms_config_##name##_or(ms_config *from, const char *key, type otherwise)                                       \
    {                                                                                                                  \
        const ms_json *value = value_of(from, key, false, kind, expected);                                             \
        return value ? value->member : otherwise;                                                                      \
    }

CONFIG_FUNCTIONS(bool, bool, MS_JSON_BOOL, "a boolean", boolean, false)
CONFIG_FUNCTIONS(int64, int64_t, MS_JSON_INTEGER, "i64", integer, 0)
CONFIG_FUNCTIONS(double, double, MS_JSON_NUMBER, "f64", number, 0)
CONFIG_FUNCTIONS(text, ms_text, MS_JSON_TEXT, "a string", text, ((ms_text){NULL, 0}))

const ms_text *ms_config_texts(ms_config *from, const char *key, size_t *count)
{
    const ms_json *list = value_of(from, key, false, MS_JSON_LIST, "a sequence");
    ms_text *texts = ms_arena_alloc(&ms_config_memory, list ? list->count * sizeof *texts : 0);
    *count = 0;
    for (const ms_json *value = list ? list->first : NULL; value; value = value->next) {
        if (!is_kind(from, key, value, MS_JSON_TEXT, "a string"))
            break;
        texts[(*count)++] = value->text;
    }
    return texts;
}

/* Formats the keys that were read, as `a`, `b`. */
static ms_text list_read_keys(const read_key *read)
{
    ms_text list = {"", 0};
    for (; read; read = read->before)
        list = ms_format("`%s`%s%.*s", read->key, list.length ? ", " : "", MS_PRINT(list));
    return list;
}

static void refuse_unknown_keys(ms_config *from)
{
    for (const ms_json *value = from->object->first; value; value = value->next) {
        const read_key *read = from->read_keys;
        while (read && !ms_text_is(value->name, read->key))
            read = read->before;
        if (read)
            continue;
        const char *expected = !from->read_keys ? "there are no fields" : from->read_keys->before ? "expected one of " : "expected ";
        ms_config_refuse(from, "unknown field `%.*s`, %s%.*s", MS_PRINT(value->name), expected,
                         MS_PRINT(list_read_keys(from->read_keys)));
    }
}

/* Reads the config into the plugin's struct. */
static void *read_config(ms_text text, ms_text *wrong)
{
    const char *error;
    ms_config from = {.object = ms_json_parse(&ms_config_memory, text, false, &error)};
    char *config = ms_arena_alloc(&ms_config_memory, ms_the_plugin.config_size + 1);
    memset(config, 0, ms_the_plugin.config_size + 1);
    if (!from.object) {
        ms_config_refuse(&from, "the config is not JSON: %s", error);
    } else if (!ms_the_plugin.config_read) {
        if (from.object->kind != MS_JSON_NULL && (from.object->kind != MS_JSON_OBJECT || from.object->count))
            ms_config_refuse(&from, "this plugin takes no config");
    } else if (from.object->kind != MS_JSON_OBJECT) {
        ms_config_refuse(&from, "the config is not an object");
    } else {
        ms_the_plugin.config_read(&from, config);
        refuse_unknown_keys(&from);
    }
    *wrong = from.wrong;
    return from.is_wrong ? NULL : config;
}

const void *ms_config_of(ms_text text, ms_text *wrong)
{
    static ms_text known;
    static const void *config;
    if (config && ms_text_equals(known, text))
        return config;
    ms_arena_reset(&ms_config_memory);
    known = ms_arena_copy(&ms_config_memory, text.length ? text : MS_TEXT_OF("{}"));
    config = read_config(known, wrong);
    return config;
}

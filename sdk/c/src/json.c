/* A strict JSON parser. */
#include "engine.h"

#include <stdlib.h>

/* Maximum nesting of lists and objects. */
#define DEPTH_MAX 64

typedef struct reader {
    ms_arena *arena;
    const char *at;
    const char *end;
    bool relaxed;
    int depth;
    const char *wrong;
} reader;

static bool read_value(reader *from, ms_json *to);

static bool is_wrong(reader *from, const char *what)
{
    if (!from->wrong)
        from->wrong = what;
    return false;
}

static int peek(const reader *from)
{
    return from->at < from->end ? (unsigned char)*from->at : -1;
}

static void skip_space(reader *from)
{
    while (peek(from) == ' ' || peek(from) == '\t' || peek(from) == '\n' || peek(from) == '\r')
        from->at++;
}

static bool take(reader *from, char character)
{
    if (peek(from) != character)
        return false;
    from->at++;
    return true;
}

static bool take_word(reader *from, const char *word)
{
    size_t length = strlen(word);
    if ((size_t)(from->end - from->at) < length || memcmp(from->at, word, length) != 0)
        return is_wrong(from, "expected a value");
    from->at += length;
    return true;
}

static size_t digits(reader *from)
{
    const char *start = from->at;
    while (peek(from) >= '0' && peek(from) <= '9')
        from->at++;
    return (size_t)(from->at - start);
}

static bool read_number(reader *from, ms_json *to)
{
    const char *start = from->at;
    bool is_integer = true;
    take(from, '-');
    bool leading_zero = peek(from) == '0';
    size_t whole = digits(from);
    if (whole == 0 || (leading_zero && whole > 1))
        return is_wrong(from, "expected a value");
    if (take(from, '.')) {
        is_integer = false;
        if (digits(from) == 0)
            return is_wrong(from, "invalid number");
    }
    if (take(from, 'e') || take(from, 'E')) {
        is_integer = false;
        if (!take(from, '+'))
            take(from, '-');
        if (digits(from) == 0)
            return is_wrong(from, "invalid number");
    }
    ms_text text = ms_arena_copy(from->arena, (ms_text){start, (size_t)(from->at - start)});
    to->number = strtod(text.data, NULL);
    /* At most 18 digits always fit. Longer ones do if they survive a round trip. */
    to->integer = is_integer ? strtoll(text.data, NULL, 10) : 0;
    bool fits = whole < 19 || (whole == 19 && to->integer != INT64_MAX && to->integer != INT64_MIN);
    fits |= ms_text_is(text, "9223372036854775807") || ms_text_is(text, "-9223372036854775808");
    to->kind = is_integer && fits ? MS_JSON_INTEGER : MS_JSON_NUMBER;
    return true;
}

static bool read_hex(reader *from, uint32_t *to)
{
    *to = 0;
    for (int i = 0; i < 4; i++) {
        int c = peek(from);
        int digit = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
        if (c < 0 || digit < 0)
            return is_wrong(from, "invalid escape");
        *to = *to * 16 + (uint32_t)digit;
        from->at++;
    }
    return true;
}

static char *put_character(char *to, uint32_t code)
{
    if (code < 0x80) {
        *to++ = (char)code;
    } else if (code < 0x800) {
        *to++ = (char)(0xc0 | code >> 6);
        *to++ = (char)(0x80 | (code & 0x3f));
    } else if (code < 0x10000) {
        *to++ = (char)(0xe0 | code >> 12);
        *to++ = (char)(0x80 | (code >> 6 & 0x3f));
        *to++ = (char)(0x80 | (code & 0x3f));
    } else {
        *to++ = (char)(0xf0 | code >> 18);
        *to++ = (char)(0x80 | (code >> 12 & 0x3f));
        *to++ = (char)(0x80 | (code >> 6 & 0x3f));
        *to++ = (char)(0x80 | (code & 0x3f));
    }
    return to;
}

static bool read_escape(reader *from, char **to)
{
    static const char names[] = "\"\\/'bfnrt", values[] = "\"\\/'\b\f\n\r\t";
    int c = peek(from);
    uint32_t code, low;
    if (c < 0)
        return is_wrong(from, "a string does not end");
    from->at++;
    if (c != 'u') {
        const char *found = c == '\'' && !from->relaxed ? NULL : strchr(names, c);
        if (!found)
            return is_wrong(from, "invalid escape");
        *(*to)++ = values[found - names];
        return true;
    }
    if (!read_hex(from, &code))
        return false;
    if (code >= 0xd800 && code < 0xdc00) {
        if (!take(from, '\\') || !take(from, 'u') || !read_hex(from, &low) || low < 0xdc00 || low > 0xdfff)
            return is_wrong(from, "half of a surrogate pair");
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    } else if (code >= 0xdc00 && code < 0xe000) {
        return is_wrong(from, "half of a surrogate pair");
    }
    *to = put_character(*to, code);
    return true;
}

static bool read_text(reader *from, ms_text *to)
{
    char quote = from->relaxed && peek(from) == '\'' ? '\'' : '"';
    if (!take(from, quote))
        return is_wrong(from, "expected a string");
    /* No escape is shorter than its character. */
    const char *close = from->at;
    while (close < from->end && *close != quote)
        close += *close == '\\' ? 2 : 1;
    if (close >= from->end)
        return is_wrong(from, "a string does not end");
    char *text = ms_arena_alloc(from->arena, (size_t)(close - from->at) + 1), *end = text;
    while (from->at < close) {
        if ((unsigned char)*from->at < ' ')
            return is_wrong(from, "a control character in a string");
        if (take(from, '\\')) {
            if (!read_escape(from, &end))
                return false;
        } else {
            *end++ = *from->at++;
        }
    }
    from->at = close + 1;
    *end = 0;
    *to = (ms_text){text, (size_t)(end - text)};
    return true;
}

/* Reads the values of a list or an object. */
static bool read_values(reader *from, ms_json *to, char close)
{
    const ms_json **link = &to->first;
    from->at++;
    if (++from->depth > DEPTH_MAX)
        return is_wrong(from, "too many lists and objects within each other");
    skip_space(from);
    if (take(from, close)) {
        from->depth--;
        return true;
    }
    do {
        ms_json *value = ms_arena_alloc(from->arena, sizeof *value);
        memset(value, 0, sizeof *value);
        skip_space(from);
        if (close == '}') {
            if (!read_text(from, &value->name))
                return false;
            skip_space(from);
            if (!take(from, ':'))
                return is_wrong(from, "expected `:`");
        }
        if (!read_value(from, value))
            return false;
        *link = value;
        link = (const ms_json **)&value->next;
        to->count++;
        skip_space(from);
    } while (take(from, ','));
    from->depth--;
    return take(from, close) || is_wrong(from, close == '}' ? "expected `,` or `}`" : "expected `,` or `]`");
}

static bool read_value(reader *from, ms_json *to)
{
    skip_space(from);
    switch (peek(from)) {
    case '{':
        to->kind = MS_JSON_OBJECT;
        return read_values(from, to, '}');
    case '[':
        to->kind = MS_JSON_LIST;
        return read_values(from, to, ']');
    case '\'':
    case '"':
        to->kind = MS_JSON_TEXT;
        return read_text(from, &to->text);
    case 't':
        to->kind = MS_JSON_BOOL;
        to->boolean = true;
        return take_word(from, "true");
    case 'f':
        to->kind = MS_JSON_BOOL;
        return take_word(from, "false");
    case 'n':
        return take_word(from, "null");
    default:
        return read_number(from, to);
    }
}

const ms_json *ms_json_parse(ms_arena *arena, ms_text text, bool relaxed, const char **wrong)
{
    reader from = {arena, text.data, text.data + text.length, relaxed, 0, NULL};
    ms_json *json = ms_arena_alloc(arena, sizeof *json);
    memset(json, 0, sizeof *json);
    bool is_value = read_value(&from, json);
    skip_space(&from);
    if (is_value && from.at < from.end)
        is_value = is_wrong(&from, "something follows the value");
    *wrong = from.wrong;
    return is_value ? json : NULL;
}

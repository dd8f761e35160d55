/* Splitting text, characters, numbers as text, and JSON. */
#include "../src/engine.h"
#include "millstream/test.h"

#include <stdio.h>
#include <stdlib.h>

#define ROW(COLUMN) COLUMN(ms_text, value)
MS_ROW(row, ROW);

static ms_status nothing(const row *row, ms_out *out, ms_call *call)
{
    (void)row;
    (void)out;
    (void)call;
    return MS_OK;
}

MS_TRANSFORM(row, row, nothing);

/* Splits character by character: the parts, each followed by `|`. */
static void slowly(ms_text text, int separator, char *to)
{
    bool within = false;
    while (text.length) {
        const char *at = text.data;
        int32_t code = ms_text_next(&text);
        bool is_separator = separator < 0 ? code == ' ' || code == '\t' || code == 0x2003 : code == separator;
        if (is_separator && within)
            *to++ = '|';
        within = !is_separator;
        if (within) {
            memcpy(to, at, (size_t)(text.data - at));
            to += text.data - at;
        }
    }
    if (within)
        *to++ = '|';
    *to = 0;
}

static void split(ms_text text, int separator, char *to)
{
    ms_parts parts = separator < 0 ? ms_words(text) : ms_split(text, (char)separator);
    for (ms_text part; ms_parts_next(&parts, &part);)
        to += sprintf(to, "%.*s|", MS_PRINT(part));
    *to = 0;
}

/* All texts of up to six of these characters, after prefixes of several lengths. */
static void parts_equal_those_of_a_simple_loop(void)
{
    static const char *const characters[] = {"a", " ", "\t", "ü", "\xe2\x80\x83"};
    static const char *const before[] = {"", "1234567", "12345678 1234567", " 1234567890123 123 \t ü 1234567890123456 "};
    long wrong = 0;
    for (int number = 0; number < 5 * 5 * 5 * 5 * 5 * 5; number++) {
        for (size_t i = 0; i < sizeof before / sizeof before[0]; i++) {
            char text[200], expected[200], found[200];
            int rest = number;
            strcpy(text, before[i]);
            for (int length = 0; length < 6 && rest; length++, rest /= 5)
                strcat(text, characters[rest % 5]);
            ms_text of = {text, strlen(text)};
            for (int separator = -1; separator <= 'a'; separator += separator < 0 ? ' ' + 1 : 'a' - ' ') {
                slowly(of, separator, expected);
                split(of, separator, found);
                wrong += strcmp(expected, found) != 0;
            }
        }
    }
    MS_EXPECT(wrong == 0);
}

static void numbers_have_the_fewest_digits(void)
{
    static const struct {
        double number;
        const char *text;
    } numbers[] = {
        {0, "0"},     {-0.0, "-0"},     {1, "1"},         {-1, "-1"},   {125, "125"},     {0.1, "0.1"},
        {1.5, "1.5"}, {0.025, "0.025"}, {1e21, "1000000000000000000000"}, {1.0 / 3, "0.3333333333333333"},
        {123456789.125, "123456789.125"},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        MS_EXPECT(strcmp(ms_number(numbers[i].number), numbers[i].text) == 0);
    MS_EXPECT(strlen(ms_number(-2.2250738585072011e-308)) < 400 && strlen(ms_number(5e-324)) == 326);
    MS_EXPECT(strtod(ms_number(1.7976931348623157e308), NULL) == 1.7976931348623157e308);
}

static const char *json(const char *text)
{
    const char *wrong;
    return ms_json_parse(&ms_call_memory, (ms_text){text, strlen(text)}, false, &wrong) ? "" : wrong;
}

static void json_is_read_strictly(void)
{
    static const char *const right[] = {"null", " [1, -2.5e3, \"\\u00e4\\n\\ud83d\\ude00\", {}, []] ", "{\"a\": true}", "0"};
    static const char *const wrong[] = {"",     "nul",    "[1,]",     "[1",        "{\"a\"}",   "{a: 1}",  "01",
                                        "1.",   "- 1",    "\"\\x\"",  "\"",        "\"\n\"",    "1 2",     "{'a': 1}",
                                        "+1",   "\"\\u12\"", "\"\\ud800\"", "\"\\udc00 \"", "[1 2]", "{\"a\": 1,}", "1e"};
    for (size_t i = 0; i < sizeof right / sizeof right[0]; i++)
        MS_EXPECT(*json(right[i]) == 0);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        MS_EXPECT(*json(wrong[i]) != 0);
    char deep[200];
    memset(deep, '[', sizeof deep);
    deep[sizeof deep - 1] = 0;
    MS_EXPECT(strstr(json(deep), "too many") != NULL);
    MS_EXPECT_JSON("'\\u00e4\\ud83d\\ude00'", "'ä😀'");
}

/* Memory of an arena is kept for any request, and freed. */
static void memory_is_freed(void)
{
    ms_arena arena = {0};
    for (int round = 0; round < 3; round++) {
        unsigned char *pieces[300];
        for (size_t i = 0; i < 300; i++) {
            pieces[i] = ms_arena_alloc(&arena, i * i);
            memset(pieces[i], (int)i, i * i);
        }
        unsigned char *growing = NULL;
        for (size_t size = 1; size < 1000000; size *= 3) {
            growing = ms_arena_grow(&arena, growing, size);
            growing[size - 1] = 7;
        }
        bool is_kept = growing[0] == 7;
        for (size_t i = 1; i < 300; i++)
            is_kept &= pieces[i][0] == (unsigned char)i && pieces[i][i * i - 1] == (unsigned char)i;
        MS_EXPECT(is_kept);
        ms_arena_reset(&arena);
    }
    free(arena.blocks);
}

int main(void)
{
    parts_equal_those_of_a_simple_loop();
    numbers_have_the_fewest_digits();
    json_is_read_strictly();
    memory_is_freed();
    MS_EXPECT(ms_text_characters(MS_TEXT_OF("aä€😀")) == 4);
    return ms_test_end();
}

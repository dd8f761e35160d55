/* A value of every type, with and without nulls: every output column is computed, so that a value that is read
 * or written wrongly is detected. */
#include <millstream.h>

#define VALUES(COLUMN)                                                                                                 \
    COLUMN(bool, flag)                                                                                                 \
    COLUMN(int64_t, whole, "int")                                                                                      \
    COLUMN(double, number, "float")                                                                                    \
    COLUMN(ms_text, text)                                                                                              \
    COLUMN(ms_binary, binary)                                                                                          \
    COLUMN(ms_timestamp, at)                                                                                           \
    COLUMN(ms_opt_bool, flag_or_null)                                                                                  \
    COLUMN(ms_opt_int64, int_or_null)                                                                                  \
    COLUMN(ms_opt_double, float_or_null)                                                                               \
    COLUMN(ms_opt_text, text_or_null)                                                                                  \
    COLUMN(ms_opt_binary, binary_or_null)                                                                              \
    COLUMN(ms_opt_timestamp, at_or_null)                                                                               \
    COLUMN(ms_opt_text, type)                                                                                          \
    COLUMN(ms_opt_int64, class)                                                                                        \
    COLUMN(ms_opt_bool, func)                                                                                          \
    COLUMN(ms_opt_text, two_words, "two words")                                                                        \
    COLUMN(ms_opt_int64, size, "größe")
MS_ROW(values, VALUES);

#define COMPUTED(COLUMN)                                                                                               \
    COLUMN(bool, flag)                                                                                                 \
    COLUMN(int64_t, whole, "int")                                                                                      \
    COLUMN(double, number, "float")                                                                                    \
    COLUMN(bool, is_negative)                                                                                          \
    COLUMN(ms_text, text)                                                                                              \
    COLUMN(int64_t, length)                                                                                            \
    COLUMN(ms_binary, binary)                                                                                          \
    COLUMN(ms_timestamp, at)                                                                                           \
    COLUMN(ms_opt_bool, flag_or_null)                                                                                  \
    COLUMN(ms_opt_int64, int_or_null)                                                                                  \
    COLUMN(ms_opt_double, float_or_null)                                                                               \
    COLUMN(ms_opt_text, text_or_null)                                                                                  \
    COLUMN(ms_opt_int64, length_or_null)                                                                               \
    COLUMN(ms_opt_binary, binary_or_null)                                                                              \
    COLUMN(ms_opt_timestamp, at_or_null)                                                                               \
    COLUMN(ms_opt_text, type)                                                                                          \
    COLUMN(ms_opt_int64, class)                                                                                        \
    COLUMN(ms_opt_bool, func)                                                                                          \
    COLUMN(ms_opt_text, two_words, "two words")                                                                        \
    COLUMN(ms_opt_int64, size, "größe")
MS_ROW(computed, COMPUTED);

static ms_text longer(ms_text text)
{
    char *longer = ms_alloc(text.length + 1);
    memcpy(longer, text.data, text.length);
    longer[text.length] = '!';
    return (ms_text){longer, text.length + 1};
}

static ms_binary reversed(ms_binary bytes)
{
    uint8_t *reversed = ms_alloc(bytes.length);
    for (size_t i = 0; i < bytes.length; i++)
        reversed[i] = bytes.data[bytes.length - 1 - i];
    return (ms_binary){reversed, bytes.length};
}

static ms_timestamp later(ms_timestamp at)
{
    return (ms_timestamp){at.us + 1000000};
}

static ms_opt_int64 inverted(ms_opt_int64 value)
{
    return (ms_opt_int64){value.is_set, ~value.value};
}

static ms_opt_bool opposite(ms_opt_bool value)
{
    return (ms_opt_bool){value.is_set, !value.value};
}

static ms_status types(const values *row, ms_out *out, ms_call *call)
{
    (void)call;
    computed to = {
        .flag = !row->flag,
        .whole = ~row->whole,
        .number = row->number * 2,
        .is_negative = row->number == row->number && __builtin_signbit(row->number),
        .text = longer(row->text),
        .length = (int64_t)ms_text_characters(row->text),
        .binary = reversed(row->binary),
        .at = later(row->at),
        .flag_or_null = opposite(row->flag_or_null),
        .int_or_null = inverted(row->int_or_null),
        .float_or_null = {row->float_or_null.is_set, row->float_or_null.value * 2},
        .type = row->type,
        .class = inverted(row->class),
        .func = opposite(row->func),
        .two_words = row->two_words,
        .size = inverted(row->size),
    };
    if (row->text_or_null.is_set) {
        to.text_or_null = (ms_opt_text){true, longer(row->text_or_null.value)};
        to.length_or_null = (ms_opt_int64){true, (int64_t)ms_text_characters(row->text_or_null.value)};
    }
    if (row->binary_or_null.is_set)
        to.binary_or_null = (ms_opt_binary){true, reversed(row->binary_or_null.value)};
    if (row->at_or_null.is_set)
        to.at_or_null = (ms_opt_timestamp){true, later(row->at_or_null.value)};
    computed_push(out, to);
    return MS_OK;
}

MS_TRANSFORM(values, computed, types);

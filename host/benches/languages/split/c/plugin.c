/* Splits lines into words. */

#include "millstream.h"

#define LINE(COLUMN) COLUMN(ms_text, value)
MS_ROW(line, LINE);

#define WORD(COLUMN) COLUMN(ms_text, word)
MS_ROW(word, WORD);

static ms_status split(const line *line, ms_out *out, ms_call *call)
{
    ms_parts words = ms_words(line->value);
    ms_text text;
    (void)call;
    while (ms_parts_next(&words, &text))
        word_push(out, (word){.word = text});
    return MS_OK;
}

MS_TRANSFORM(line, word, split);

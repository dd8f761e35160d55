/* Several rows or none from one row, and rows that are removed again. */
#include <millstream.h>

#define LINE(COLUMN) COLUMN(ms_text, line)
MS_ROW(line, LINE);

#define WORD(COLUMN)                                                                                                   \
    COLUMN(ms_text, word)                                                                                              \
    COLUMN(int64_t, place)
MS_ROW(word, WORD);

static ms_status split(const line *line, ms_out *out, ms_call *call)
{
    ms_parts words = ms_split(line->line, ' ');
    ms_text text;
    for (int64_t place = 0; ms_parts_next(&words, &text) && text.data[0] != '#'; place++) {
        if (ms_text_is(text, "!"))
            return ms_reject(call, "word %lld is not valid", (long long)place);
        word_push(out, (word){.word = text, .place = place});
    }
    return MS_OK;
}

MS_TRANSFORM(line, word, split);

/*
 * Millstream plugins in C.
 *
 * A plugin is a function on rows. The author lists the columns of each kind of row, writes a function, and selects the
 * world of the plugin:
 *
 *     #define LINE(COLUMN) COLUMN(ms_text, value)
 *     MS_ROW(line, LINE);
 *
 *     #define WORD(COLUMN) COLUMN(ms_text, word)
 *     MS_ROW(word, WORD);
 *
 *     static ms_status split(const line *line, ms_out *out, ms_call *call)
 *     {
 *         ms_parts words = ms_words(line->value);
 *         ms_text text;
 *         (void)call;
 *         while (ms_parts_next(&words, &text))
 *             word_push(out, (word){.word = text});
 *         return MS_OK;
 *     }
 *
 *     MS_TRANSFORM(line, word, split);
 */
#ifndef MILLSTREAM_H
#define MILLSTREAM_H

#include "millstream/types.h"
#include "millstream/out.h"
#include "millstream/row.h"
#include "millstream/config.h"
#include "millstream/call.h"
#include "millstream/text.h"
#include "millstream/plugin.h"
#include "millstream/worlds.h"
#include "millstream/net.h"
#include "millstream/source.h"
#include "millstream/sink.h"

#endif

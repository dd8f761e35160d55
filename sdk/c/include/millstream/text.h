/* Text: compares strings, and splits them sixteen bytes at a time. */
#ifndef MILLSTREAM_TEXT_H
#define MILLSTREAM_TEXT_H

#include "types.h"

#include <string.h>
#if defined(__wasm_simd128__)
#include <wasm_simd128.h>
#elif defined(__SSE2__)
#include <emmintrin.h>
#endif

static inline bool ms_text_equals(ms_text left, ms_text right)
{
    return left.length == right.length && (left.length == 0 || memcmp(left.data, right.data, left.length) == 0);
}

/* Returns whether a text equals a C string. */
static inline bool ms_text_is(ms_text text, const char *word)
{
    return text.length == strlen(word) && memcmp(text.data, word, text.length) == 0;
}

/* Returns whether bytes are valid UTF-8, as required for a text. */
bool ms_text_is_utf8(ms_text text);
/* Returns the number of characters of a text. */
size_t ms_text_characters(ms_text text);
/* Removes the first character of a text and returns its code point, or -1 at the end. */
int32_t ms_text_next(ms_text *rest);

/* The parts of a text between separators, without empty ones. */
typedef struct ms_parts {
    ms_text text;
    /* An ASCII byte, or -1 for white space, including that of Unicode. */
    int separator;
    /* The start of the next part. */
    size_t start;
    /* Separators that were found and not yet used, one bit per byte from `base` on. */
    uint32_t found;
    size_t base;
    /* Length of each found separator in bytes. */
    size_t length;
    /* Index where the search continues. */
    size_t next;
} ms_parts;

/* Returns the words of a text: its parts between white space. */
static inline ms_parts ms_words(ms_text text)
{
    return (ms_parts){.text = text, .separator = -1, .length = 1};
}

/* Returns the parts of a text between single ASCII bytes. */
static inline ms_parts ms_split(ms_text text, char separator)
{
    return (ms_parts){.text = text, .separator = (unsigned char)separator, .length = 1};
}

/* Marks the separators among sixteen bytes. Returns false if characters that are not ASCII may be separators. */
static inline bool ms_find_separators(const char *bytes, int separator, uint32_t *found)
{
#if defined(__wasm_simd128__)
    v128_t piece = wasm_v128_load(bytes);
    if (separator >= 0) {
        *found = (uint32_t)wasm_i8x16_bitmask(wasm_i8x16_eq(piece, wasm_i8x16_splat((int8_t)separator)));
        return true;
    }
    /* Tab, line feed, vertical tab, form feed and carriage return are consecutive. */
    v128_t controls = wasm_u8x16_le(wasm_i8x16_sub(piece, wasm_i8x16_splat('\t')), wasm_i8x16_splat('\r' - '\t'));
    *found = (uint32_t)wasm_i8x16_bitmask(wasm_v128_or(wasm_i8x16_eq(piece, wasm_i8x16_splat(' ')), controls));
    return wasm_i8x16_bitmask(piece) == 0;
#elif defined(__SSE2__)
    __m128i piece = _mm_loadu_si128((const void *)bytes);
    if (separator >= 0) {
        *found = (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(piece, _mm_set1_epi8((char)separator)));
        return true;
    }
    __m128i above = _mm_sub_epi8(piece, _mm_set1_epi8('\t'));
    __m128i controls = _mm_cmpeq_epi8(_mm_min_epu8(above, _mm_set1_epi8('\r' - '\t')), above);
    *found = (uint32_t)_mm_movemask_epi8(_mm_or_si128(_mm_cmpeq_epi8(piece, _mm_set1_epi8(' ')), controls));
    return _mm_movemask_epi8(piece) == 0;
#else
    *found = 0;
    for (uint32_t i = 0; i < 16; i++) {
        unsigned char byte = (unsigned char)bytes[i];
        if (separator < 0 && byte >= 0x80)
            return false;
        bool is_space = byte == ' ' || (byte >= '\t' && byte <= '\r');
        *found |= (uint32_t)(separator < 0 ? is_space : byte == separator) << i;
    }
    return true;
#endif
}

/* Searches the next bytes for separators. Returns false at the end of the text. */
bool ms_parts_search_slowly(ms_parts *parts);

static inline bool ms_parts_search(ms_parts *parts)
{
    size_t left = parts->text.length - parts->next;
    if (left >= 16 && ms_find_separators(parts->text.data + parts->next, parts->separator, &parts->found)) {
        parts->base = parts->next;
        parts->length = 1;
        parts->next += 16;
        return true;
    }
    return ms_parts_search_slowly(parts);
}

/* Returns the next part. False after the last one. */
static inline bool ms_parts_next(ms_parts *parts, ms_text *part)
{
    for (;;) {
        while (parts->found == 0) {
            if (!ms_parts_search(parts)) {
                *part = (ms_text){parts->text.data + parts->start, parts->text.length - parts->start};
                parts->start = parts->text.length;
                return part->length > 0;
            }
        }
        size_t end = parts->base + (size_t)__builtin_ctz(parts->found);
        size_t start = parts->start;
        parts->found &= parts->found - 1;
        parts->start = end + parts->length;
        if (start < end) {
            *part = (ms_text){parts->text.data + start, end - start};
            return true;
        }
    }
}

#endif

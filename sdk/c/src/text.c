/* Characters of text, and numbers as text. */
#include "engine.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

bool ms_text_is_utf8(ms_text text)
{
    for (size_t i = 0; i < text.length;) {
        unsigned char first = (unsigned char)text.data[i];
        if (first < 0x80) {
            i++;
            continue;
        }
        size_t length = first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
        if (length == 0 || length > text.length - i)
            return false;
        unsigned char second = (unsigned char)text.data[i + 1];
        /* Rejects overlong forms, halves of a surrogate pair, and code points above the last one. */
        if ((first == 0xe0 && second < 0xa0) || (first == 0xed && second > 0x9f) || (first == 0xf0 && second < 0x90) ||
            (first == 0xf4 && second > 0x8f))
            return false;
        for (size_t byte = 1; byte < length; byte++) {
            if (((unsigned char)text.data[i + byte] & 0xc0) != 0x80)
                return false;
        }
        i += length;
    }
    return true;
}

size_t ms_text_characters(ms_text text)
{
    size_t characters = 0;
    for (size_t i = 0; i < text.length; i++)
        characters += ((unsigned char)text.data[i] & 0xc0) != 0x80;
    return characters;
}

int32_t ms_text_next(ms_text *rest)
{
    if (rest->length == 0)
        return -1;
    unsigned char first = (unsigned char)rest->data[0];
    size_t length = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    int32_t code = length == 1 ? first : first & (0x7f >> length);
    if (length > rest->length)
        length = rest->length;
    for (size_t i = 1; i < length; i++)
        code = code << 6 | ((unsigned char)rest->data[i] & 0x3f);
    rest->data += length;
    rest->length -= length;
    return code;
}

static bool is_white_space(int32_t code)
{
    return code == ' ' || (code >= '\t' && code <= '\r') || code == 0x85 || code == 0xa0 || code == 0x1680 ||
           (code >= 0x2000 && code <= 0x200a) || code == 0x2028 || code == 0x2029 || code == 0x202f || code == 0x205f ||
           code == 0x3000;
}

/* Finds one separator character by character. Sets where the search continues, or ends it. */
static void search_characters(ms_parts *parts)
{
    ms_text rest = {parts->text.data + parts->next, parts->text.length - parts->next};
    while (rest.length) {
        size_t before = rest.length;
        if (is_white_space(ms_text_next(&rest))) {
            parts->found = 1;
            parts->base = parts->text.length - before;
            parts->length = before - rest.length;
            break;
        }
    }
    parts->next = parts->text.length - rest.length;
}

bool ms_parts_search_slowly(ms_parts *parts)
{
    size_t left = parts->text.length - parts->next;
    char last[16] = {0};
    uint32_t found;
    if (left == 0)
        return false;
    if (left >= sizeof last) {
        search_characters(parts);
        return true;
    }
    bool is_found;
    if (parts->text.length >= sizeof last) {
        /* There are enough bytes before the last ones, so some may be searched again. */
        is_found = ms_find_separators(parts->text.data + parts->text.length - sizeof last, parts->separator, &found);
        found >>= sizeof last - left;
    } else {
        for (size_t i = 0; i < left; i++)
            last[i] = parts->text.data[parts->next + i];
        is_found = ms_find_separators(last, parts->separator, &found);
        found &= (1u << left) - 1;
    }
    if (is_found) {
        parts->found = found;
        parts->base = parts->next;
        parts->length = 1;
        parts->next += left;
    } else {
        search_characters(parts);
    }
    return true;
}

/* Returns the digits of the shortest number that reads as this one, and the power of ten of the first digit. */
static int shortest(double number, char digits[32])
{
    char text[32];
    int length = 0;
    for (int precision = 0; precision < 17; precision++) {
        snprintf(text, sizeof text, "%.*e", precision, number);
        if (strtod(text, NULL) == number)
            break;
    }
    const char *at = text;
    for (; *at && *at != 'e'; at++) {
        if (*at >= '0' && *at <= '9')
            digits[length++] = *at;
    }
    digits[length] = 0;
    return *at ? atoi(at + 1) : 0;
}

/* Formats numbers like Rust and JavaScript, but never with an exponent. */
const char *ms_number(double number)
{
    char digits[32];
    if (isnan(number))
        return "NaN";
    if (isinf(number))
        return number < 0 ? "-inf" : "inf";
    int power = shortest(fabs(number), digits), length = (int)strlen(digits);
    /* At most 308 digits before the point or 324 after it, in addition to the shortest digits. */
    char *text = ms_alloc(400), *at = text;
    if (signbit(number))
        *at++ = '-';
    if (power < 0)
        *at++ = '0';
    for (int place = power < 0 ? -1 : power; place >= 0 || power - place < length; place--) {
        int digit = power - place;
        if (place == -1)
            *at++ = '.';
        *at++ = digit >= 0 && digit < length ? digits[digit] : '0';
    }
    *at = 0;
    return text;
}

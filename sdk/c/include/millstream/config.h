/* Reads the stage's `config` into a struct of the plugin. */
#ifndef MILLSTREAM_CONFIG_H
#define MILLSTREAM_CONFIG_H

#include "types.h"

typedef enum ms_json_kind {
    MS_JSON_NULL,
    MS_JSON_BOOL,
    MS_JSON_INTEGER,
    MS_JSON_NUMBER,
    MS_JSON_TEXT,
    MS_JSON_LIST,
    MS_JSON_OBJECT
} ms_json_kind;

/* A JSON value. The elements of a list or an object are linked by `next`. */
typedef struct ms_json {
    ms_json_kind kind;
    bool boolean;
    /* For integers. */
    int64_t integer;
    /* For integers and numbers. */
    double number;
    ms_text text;
    /* Name of the value in an object. */
    ms_text name;
    /* For lists and objects: number of elements, and the first one. */
    size_t count;
    const struct ms_json *first;
    const struct ms_json *next;
} ms_json;

/*
 * An object of the config. Each function below reads a key of it. A key that was never read is an error when the plugin's
 * function returns, so read every key, needed or not. The first error is reported to the author of the job; after an error,
 * functions return zeros.
 */
typedef struct ms_config ms_config;

/* Required values. */
bool ms_config_bool(ms_config *from, const char *key);
int64_t ms_config_int64(ms_config *from, const char *key);
/* Accepts integers too. */
double ms_config_double(ms_config *from, const char *key);
/* A view that is valid as long as the config. */
ms_text ms_config_text(ms_config *from, const char *key);

/* Optional values, with a default. */
bool ms_config_bool_or(ms_config *from, const char *key, bool otherwise);
int64_t ms_config_int64_or(ms_config *from, const char *key, int64_t otherwise);
double ms_config_double_or(ms_config *from, const char *key, double otherwise);
ms_text ms_config_text_or(ms_config *from, const char *key, ms_text otherwise);

/* Returns a list of strings. Empty if it is missing. */
const ms_text *ms_config_texts(ms_config *from, const char *key, size_t *count);
/* Returns a value of any kind, including lists and objects, or NULL if it is missing. */
const ms_json *ms_config_value(ms_config *from, const char *key);
/* Allocates memory that is valid as long as the config. */
void *ms_config_alloc(ms_config *from, size_t size);
/* Reports an error of the config, formatted like `printf`. */
void ms_config_refuse(ms_config *from, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif

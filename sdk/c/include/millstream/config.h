/* The stage's `config`, read into a struct of the plugin's. */
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
    /* Of an integer. */
    int64_t integer;
    /* Of an integer or a number. */
    double number;
    ms_text text;
    /* Within an object: its name. */
    ms_text name;
    /* Of a list or an object: how many there are, and the first. */
    size_t count;
    const struct ms_json *first;
    const struct ms_json *next;
} ms_json;

/*
 * An object of the config that is being read. Each function below reads a key of it. A key that was never read is
 * rejected when the plugin's function returns, so read every key, needed or not. The first error is reported to the
 * author of the job; after it, functions return zeros.
 */
typedef struct ms_config ms_config;

/* Values that must be there. */
bool ms_config_bool(ms_config *from, const char *key);
int64_t ms_config_int64(ms_config *from, const char *key);
/* Takes integers too. */
double ms_config_double(ms_config *from, const char *key);
/* A view that lives as long as the config. */
ms_text ms_config_text(ms_config *from, const char *key);

/* Values that may be missing, with what is taken then. */
bool ms_config_bool_or(ms_config *from, const char *key, bool otherwise);
int64_t ms_config_int64_or(ms_config *from, const char *key, int64_t otherwise);
double ms_config_double_or(ms_config *from, const char *key, double otherwise);
ms_text ms_config_text_or(ms_config *from, const char *key, ms_text otherwise);

/* A list of strings; empty if it is missing. */
const ms_text *ms_config_texts(ms_config *from, const char *key, size_t *count);
/* A value of any kind, as lists and objects; NULL if it is missing. */
const ms_json *ms_config_value(ms_config *from, const char *key);
/* Memory that lives as long as the config. */
void *ms_config_alloc(ms_config *from, size_t size);
/* Reports an error of the config, formatted like `printf`. */
void ms_config_refuse(ms_config *from, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif

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

/* A value of JSON. Those within a list or an object are linked by `next`. */
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
 * An object of the config that is being read. Each function below takes a key of it: a key that none has asked for is
 * refused when the plugin's function returns, so keys must be asked for whether they are needed or not. The first thing
 * that is wrong is what the author of the job is told; functions go on with a zero afterwards.
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

/* A list of texts, which may be missing and is empty then. */
const ms_text *ms_config_texts(ms_config *from, const char *key, size_t *count);
/* A value of any kind, as lists and objects; NULL where it is missing. */
const ms_json *ms_config_value(ms_config *from, const char *key);
/* Memory that lives as long as the config. */
void *ms_config_alloc(ms_config *from, size_t size);
/* Says what is wrong with the config, as `printf` does. */
void ms_config_refuse(ms_config *from, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif

/* The host in tests. */
#include "native.h"

#include <stdio.h>
#include <stdlib.h>

ms_test_stage ms_stage;

void ms_host_log(ms_level level, ms_text line)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};
    fprintf(stderr, "%s: %.*s\n", names[level], MS_PRINT(line));
}

void ms_host_count(ms_text counter, uint64_t amount)
{
    (void)counter;
    (void)amount;
}

static FILE *open_file(ms_text name, ms_text *wrong)
{
    const char *path = ms_format("testdata/%.*s", MS_PRINT(name)).data;
    FILE *file = fopen(path, "rb");
    if (!file)
        *wrong = ms_format("%s: file not found", path);
    return file;
}

bool ms_host_file_size(ms_text name, uint64_t *size, ms_text *wrong)
{
    FILE *file = open_file(name, wrong);
    if (!file)
        return false;
    fseek(file, 0, SEEK_END);
    *size = (uint64_t)ftell(file);
    fclose(file);
    return true;
}

bool ms_host_file_read(ms_text name, uint64_t offset, uint32_t length, ms_binary *bytes, ms_text *wrong)
{
    FILE *file = open_file(name, wrong);
    if (!file)
        return false;
    uint8_t *read = ms_alloc(length);
    fseek(file, (long)offset, SEEK_SET);
    *bytes = (ms_binary){read, fread(read, 1, length, file)};
    fclose(file);
    return true;
}

ms_schema ms_host_input(uint32_t input)
{
    return input < ms_stage.inputs_count ? ms_stage.inputs[input] : (ms_schema){NULL, 0};
}

ms_schema ms_host_key(void)
{
    return ms_stage.key;
}

void ms_host_timer_set(uint32_t group, int64_t at)
{
    ms_stage.change_timer(group, at, true);
}

void ms_host_timer_cancel(uint32_t group, int64_t at)
{
    ms_stage.change_timer(group, at, false);
}

void ms_host_timers_due(const uint32_t **ends, const ms_timestamp **times)
{
    *ends = ms_stage.due_ends;
    *times = ms_stage.due_times;
}

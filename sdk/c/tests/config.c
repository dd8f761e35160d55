/* Valid and invalid configs. */
#include <millstream.h>
#include <millstream/test.h>

#define ROW(COLUMN) COLUMN(ms_text, shown)
MS_ROW(row, ROW);

typedef struct settings {
    bool flag;
    int64_t whole;
    double number;
    ms_text text;
    const ms_text *list;
    size_t list_count;
} settings;

static void read_settings(ms_config *from, void *to)
{
    settings *settings = to;
    settings->flag = ms_config_bool_or(from, "flag", true);
    settings->whole = ms_config_int64(from, "whole");
    settings->number = ms_config_double_or(from, "number", 0.5);
    settings->text = ms_config_text_or(from, "text", MS_TEXT_OF("none"));
    settings->list = ms_config_texts(from, "list", &settings->list_count);
    const ms_json *nested = ms_config_value(from, "nested");
    if (nested && nested->kind != MS_JSON_OBJECT)
        ms_config_refuse(from, "`nested` is no object");
}

static ms_status show(const row *input, ms_out *out, ms_call *call)
{
    const settings *settings = call->config;
    (void)input;
    ms_text text = ms_format("%d %lld %s %.*s", settings->flag, (long long)settings->whole, ms_number(settings->number),
                             MS_PRINT(settings->text));
    for (size_t i = 0; i < settings->list_count; i++)
        text = ms_format("%.*s %.*s", MS_PRINT(text), MS_PRINT(settings->list[i]));
    row_push(out, (row){text});
    return MS_OK;
}

MS_TRANSFORM(row, row, show, MS_CONFIG(settings, read_settings));

static const char *shown(const char *config)
{
    ms_test test = {.config = config};
    ms_run run = ms_test_run(&test, "[{'shown': ''}]");
    return run.rows ? run.rows : run.error;
}

int main(void)
{
    static const struct {
        const char *config;
        const char *error;
    } wrong[] = {
        {"{}", "config: missing field `whole`"},
        {"{'whole': 1.5}", "config: `whole`: invalid type: floating point `1.5`, expected i64"},
        {"{'whole': 9223372036854775808}", "config: `whole`: invalid type: floating point `9223372036854776000`, expected i64"},
        {"{'whole': null}", "config: `whole`: invalid type: null, expected i64"},
        {"{'whole': 1, 'flag': 0}", "config: `flag`: invalid type: integer `0`, expected a boolean"},
        {"{'whole': 1, 'text': true}", "config: `text`: invalid type: boolean `true`, expected a string"},
        {"{'whole': 1, 'number': 'x'}", "config: `number`: invalid type: string \"x\", expected f64"},
        {"{'whole': 1, 'list': {}}", "config: `list`: invalid type: map, expected a sequence"},
        {"{'whole': 1, 'list': ['a', []]}", "config: `list`: invalid type: sequence, expected a string"},
        {"{'whole': 1, 'nested': 2}", "config: `nested` is no object"},
        {"{'whole': 1, 'hole': 2}",
         "config: unknown field `hole`, expected one of `flag`, `whole`, `number`, `text`, `list`, `nested`"},
        {"[]", "config: the config is not an object"},
    };
    MS_EXPECT_JSON(shown("{'whole': -9223372036854775808}"), "[{'shown': '1 -9223372036854775808 0.5 none'}]");
    MS_EXPECT_JSON(shown("{'whole': 2, 'flag': false, 'number': 3, 'text': 'ä', 'list': ['a', ''], 'nested': {}}"),
                   "[{'shown': '0 2 3 ä a '}]");
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        const char *error = shown(wrong[i].config);
        MS_EXPECT(strcmp(error, wrong[i].error) == 0);
        if (strcmp(error, wrong[i].error) != 0)
            ms_error("%s: %s", wrong[i].config, error);
    }
    return ms_test_end();
}

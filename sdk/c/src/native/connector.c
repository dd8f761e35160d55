/* Common code for tests of sources and sinks. */
#include "native.h"

ms_text ms_test_text(const char *text)
{
    return (ms_text){text, text ? strlen(text) : 0};
}

ms_text ms_test_config(const ms_test *test)
{
    ms_writer strict = {NULL, 0, 0};
    ms_write_json(&strict, ms_test_json(test->config ? test->config : "{}"));
    return (ms_text){strict.text, strict.length};
}

bool ms_test_begin(const ms_test *test, ms_world world, ms_call *call, ms_engine *engine)
{
    ms_description description;
    if (ms_the_plugin.world != world)
        ms_test_wrong("this is not a plugin of world `%s`", world == MS_WORLD_SOURCE ? "source" : "sink");
    ms_arena_reset(&ms_call_memory);
    memset(call, 0, sizeof *call);
    return ms_engine_begin(call, engine, ms_test_config(test)) && ms_engine_describe(call, &description);
}

void ms_test_goes_on(ms_call *call, ms_engine *engine)
{
    ms_arena_reset(&ms_call_memory);
    memset(call, 0, sizeof *call);
    if (!ms_engine_opened(call, engine))
        ms_test_wrong("nothing is open: call ms_test_open or ms_test_take_over first");
}

/* Calls that fail in every way, and requests to the runtime. */
#include <millstream.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define ORDER(COLUMN) COLUMN(ms_text, value)
MS_ROW(order, ORDER);

/* Volatile, so that the compiler does not know the value. */
static volatile int64_t zero = 0;
static volatile int64_t one = 1;

static int64_t deeper(int64_t n)
{
    return n == zero ? n : deeper(n + one) + one;
}

static int64_t more(void)
{
    int64_t count = 0;
    for (;;) {
        volatile char *memory = malloc(1 << 20);
        ms_assert(memory);
        memset((char *)memory, 1, 1 << 20);
        count += memory[zero];
    }
    return count;
}

static ms_text number(long long value)
{
    return ms_format("%lld", value);
}

static ms_status failing(const order *order, ms_out *out, ms_call *call)
{
    ms_text value = order->value;
    if (ms_text_is(value, "fail")) {
        printf("about to fail\n");
        return ms_fail(call, "cannot go on with `fail`");
    } else if (ms_text_is(value, "divide")) {
        value = number(one / zero);
    } else if (ms_text_is(value, "loop")) {
        while (one)
            zero = 0;
    } else if (ms_text_is(value, "recurse")) {
        value = number(deeper(1));
    } else if (ms_text_is(value, "memory")) {
        value = number(more());
    } else if (ms_text_is(value, "print")) {
        printf("printed: äöü €\nthe second ");
        printf("line\n");
        fprintf(stderr, "whispered: %s\n", "日本");
        value = MS_TEXT_OF("printed");
    } else if (ms_text_is(value, "refuse")) {
        return ms_reject(call, "rejected on demand");
    } else if (ms_text_is(value, "file")) {
        ms_binary notes = ms_file(call, "notes");
        value = (ms_text){.data = (const char *)notes.data, .length = notes.length};
    } else if (ms_text_is(value, "clock")) {
        value = number(time(NULL));
    } else if (ms_text_is(value, "order")) {
        value = MS_TEXT_OF("none");
    } else if (ms_text_is(value, "random")) {
        uint64_t drawn;
        ms_assert(getentropy(&drawn, sizeof drawn) == 0);
        value = ms_format("%llu", (unsigned long long)drawn);
    }
    order_push(out, (struct order){.value = value});
    return MS_OK;
}

MS_TRANSFORM(order, order, failing);

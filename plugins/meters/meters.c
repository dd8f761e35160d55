/*
 * Reads records of a fixed binary protocol over TCP, from a concentrator of meters that keeps what is not acknowledged.
 *
 * All numbers are big-endian. The plugin sends "MTR1" and the number of the record that it wants first, 8 bytes. The
 * concentrator sends records of 32 bytes: number (8), time in microseconds since 1970 (8), meter (4), flags (4; bit 0: the
 * value is estimated), value (8, IEEE 754). The number of the last one is followed by a record whose number is all ones, where
 * there will never be more. The plugin sends "ACK1" and a number, 8 bytes, when all records below it are safe.
 */
#include <millstream.h>

#define READING(COLUMN)                                                                                                \
    COLUMN(int64_t, number)                                                                                            \
    COLUMN(ms_timestamp, at)                                                                                           \
    COLUMN(int64_t, meter)                                                                                             \
    COLUMN(double, value)                                                                                              \
    COLUMN(bool, is_estimated)
MS_ROW(reading, READING);

#define TIMEOUT_MS 5000
#define RECORD_BYTES 32
#define POSITION_BYTES 8
#define END UINT64_MAX
#define ESTIMATED 1u

/* The source's `config`: concentrators, each of which is a partition. */
typedef struct settings {
    const ms_text *addresses;
    size_t count;
} settings;

static void read_settings(ms_config *from, void *to)
{
    settings *settings = to;
    settings->addresses = ms_config_texts(from, "addresses", &settings->count);
}

static ms_stream records;
/* The number of the next record: the position, in 8 bytes. */
static uint64_t next;

static uint64_t number_of(const uint8_t *bytes, size_t count)
{
    uint64_t number = 0;
    for (size_t i = 0; i < count; i++)
        number = number << 8 | bytes[i];
    return number;
}

static void write_number(uint8_t *to, uint64_t number)
{
    for (size_t i = 0; i < POSITION_BYTES; i++)
        to[i] = (uint8_t)(number >> (8 * (POSITION_BYTES - 1 - i)));
}

static ms_status check(ms_call *call)
{
    const settings *settings = call->config;
    return settings->count ? MS_OK : ms_refuse_config(call, "`addresses` is empty");
}

static ms_status list(ms_partitions *partitions, ms_call *call)
{
    const settings *settings = call->config;
    for (size_t i = 0; i < settings->count; i++)
        ms_partition(partitions, settings->addresses[i]);
    return MS_OK;
}

/* Sends a word of four letters and a number. */
static ms_status tell(ms_call *call, const char *word, uint64_t number)
{
    uint8_t message[4 + POSITION_BYTES];
    memcpy(message, word, 4);
    write_number(message + 4, number);
    ms_net net = ms_net_write(call, records.socket, (ms_binary){message, sizeof message}, TIMEOUT_MS);
    return net == MS_NET_OK ? MS_OK : ms_net_fail(call, net);
}

static ms_status begin(ms_text address, const ms_binary *position, ms_call *call)
{
    if (position && position->length != POSITION_BYTES)
        return ms_fail(call, "invalid position of %zu bytes", position->length);
    next = position ? number_of(position->data, POSITION_BYTES) : 0;
    ms_net net = ms_stream_connect(call, &records, address, RECORD_BYTES, TIMEOUT_MS);
    return net == MS_NET_OK ? tell(call, "MTR1", next) : ms_net_fail(call, net);
}

static ms_status take(ms_poll *poll, const uint8_t *record, ms_out *out, ms_call *call)
{
    uint64_t number = number_of(record, 8), bits = number_of(record + 24, 8);
    reading read = {
        .number = (int64_t)number,
        .at = {(int64_t)number_of(record + 8, 8)},
        .meter = (int64_t)number_of(record + 16, 4),
        .is_estimated = number_of(record + 20, 4) & ESTIMATED,
    };
    if (number != next)
        return ms_fail(call, "got record %llu instead of record %llu", (unsigned long long)number,
                       (unsigned long long)next);
    memcpy(&read.value, &bits, sizeof read.value);
    /* An infinity less itself is no number either. */
    if (read.value - read.value != 0)
        ms_refuse(poll, (ms_binary){record, RECORD_BYTES}, "the value of meter %lld in record %lld is not a number",
                  (long long)read.meter, (long long)read.number);
    else
        reading_push(out, read);
    next++;
    return MS_OK;
}

static ms_status read_records(ms_poll *poll, ms_out *out, ms_call *call)
{
    uint32_t wait_ms = poll->wait_ms;
    while (ms_left(poll) > 0) {
        ms_binary record;
        ms_net net = ms_next_bytes(call, &records, RECORD_BYTES, false, wait_ms, &record);
        if (net == MS_NET_TIMEOUT)
            break;
        /* What came before the end is good; the next poll hears of the end again. */
        if (net == MS_NET_CLOSED && ms_came(poll) > 0)
            break;
        if (net != MS_NET_OK)
            return ms_net_fail(call, net);
        if (number_of(record.data, 8) == END) {
            poll->next = MS_ENDED;
            break;
        }
        ms_status status = take(poll, record.data, out, call);
        if (status != MS_OK)
            return status;
        wait_ms = 0;
    }
    uint8_t position[POSITION_BYTES];
    write_number(position, next);
    ms_position(poll, (ms_binary){position, sizeof position});
    return MS_OK;
}

static ms_status durable(ms_binary position, ms_call *call)
{
    return tell(call, "ACK1", number_of(position.data, POSITION_BYTES));
}

MS_SOURCE(reading, MS_READS(.check = check, .partitions = list, .open = begin, .poll = read_records, .durable = durable),
          MS_CONFIG(settings, read_settings));

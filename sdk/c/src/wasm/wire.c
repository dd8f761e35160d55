/* Converts between the SDK's types and those of the generated bindings, and wraps the imports of every world. */
#include "convert.h"

/* Allocates memory for the host's arguments. All of it is freed after the call. */
__attribute__((export_name("cabi_realloc"))) void *cabi_realloc(void *memory, size_t old_size, size_t align,
                                                                size_t new_size)
{
    (void)align;
    void *grown = ms_alloc(new_size);
    if (memory && old_size)
        memcpy(grown, memory, old_size < new_size ? old_size : new_size);
    return grown;
}

/* The generated code requires a linked object that names the world. `millstream build` adds it itself. */
void __component_type_object_force_link_wire(void);
void __component_type_object_force_link_wire(void)
{
}

ms_text ms_from_string(const wire_string_t *string)
{
    return (ms_text){(const char *)string->ptr, string->len};
}

wire_string_t ms_to_string(ms_text text)
{
    return (wire_string_t){(uint8_t *)text.data, text.length};
}

static ms_buffer from_option(const wire_option_list_u8_t *option)
{
    return option->is_some ? (ms_buffer){option->val.ptr, option->val.len} : (ms_buffer){NULL, 0};
}

static wire_option_list_u8_t to_option(ms_buffer buffer)
{
    return (wire_option_list_u8_t){buffer.data != NULL, {(uint8_t *)buffer.data, buffer.length}};
}

ms_batch ms_from_batch(const millstream_plugin_types_batch_t *batch)
{
    ms_column *columns = ms_alloc(batch->columns.len * sizeof *columns);
    for (size_t i = 0; i < batch->columns.len; i++) {
        const millstream_plugin_types_column_t *column = &batch->columns.ptr[i];
        columns[i] = (ms_column){from_option(&column->validity), from_option(&column->offsets),
                                 {column->data.ptr, column->data.len}};
    }
    return (ms_batch){batch->rows, (uint32_t)batch->columns.len, columns};
}

millstream_plugin_types_batch_t ms_to_batch(const ms_batch *batch)
{
    millstream_plugin_types_column_t *columns = ms_alloc(batch->width * sizeof *columns);
    for (uint32_t i = 0; i < batch->width; i++) {
        const ms_column *column = &batch->columns[i];
        columns[i] = (millstream_plugin_types_column_t){to_option(column->validity), to_option(column->offsets),
                                                        {(uint8_t *)column->data.data, column->data.length}};
    }
    return (millstream_plugin_types_batch_t){batch->rows, {columns, batch->width}};
}

ms_schema ms_from_schema(const millstream_plugin_types_schema_t *schema)
{
    ms_field *fields = ms_alloc(schema->fields.len * sizeof *fields);
    for (size_t i = 0; i < schema->fields.len; i++) {
        const millstream_plugin_types_field_t *field = &schema->fields.ptr[i];
        fields[i] = (ms_field){ms_from_string(&field->name), (ms_type)field->type.tag, field->nullable, {NULL, 0}};
        if (fields[i].type == MS_ARROW)
            fields[i].arrow = ms_from_string(&field->type.val.arrow);
    }
    return (ms_schema){fields, schema->fields.len};
}

millstream_plugin_types_schema_t ms_to_schema(ms_schema schema)
{
    millstream_plugin_types_field_t *fields = ms_alloc(schema.width * sizeof *fields);
    for (size_t i = 0; i < schema.width; i++) {
        const ms_field *field = &schema.fields[i];
        memset(&fields[i], 0, sizeof fields[i]);
        fields[i].name = ms_to_string(field->name);
        fields[i].type.tag = (uint8_t)field->type;
        fields[i].nullable = field->nullable;
        if (field->type == MS_ARROW)
            fields[i].type.val.arrow = ms_to_string(field->arrow);
    }
    return (millstream_plugin_types_schema_t){{fields, schema.width}};
}

bool ms_begin_describe(ms_call *call, ms_engine *engine, const wire_string_t *config, ms_description *description)
{
    memset(call, 0, sizeof *call);
    return ms_engine_begin(call, engine, ms_from_string(config)) && ms_engine_describe(call, description);
}

bool ms_begin_call(ms_call *call, ms_engine *engine, const wire_string_t *config)
{
    memset(call, 0, sizeof *call);
    return ms_engine_begin(call, engine, ms_from_string(config));
}

bool ms_end(const ms_call *call, bool done, millstream_plugin_types_error_t *error)
{
    if (!done) {
        error->tag = (uint8_t)call->engine->failure.kind;
        error->val.internal = ms_to_string(call->engine->failure.message);
    }
    return done;
}

void ms_host_log(ms_level level, ms_text line)
{
    wire_string_t wire = ms_to_string(line);
    millstream_plugin_log_write((millstream_plugin_log_level_t)level, &wire);
}

void ms_host_count(ms_text counter, uint64_t amount)
{
    wire_string_t wire = ms_to_string(counter);
    millstream_plugin_metrics_add(&wire, amount);
}

bool ms_host_file_size(ms_text name, uint64_t *size, ms_text *wrong)
{
    wire_string_t wire = ms_to_string(name), error;
    bool done = millstream_plugin_files_size(&wire, size, &error);
    if (!done)
        *wrong = ms_from_string(&error);
    return done;
}

bool ms_host_file_read(ms_text name, uint64_t offset, uint32_t length, ms_binary *bytes, ms_text *wrong)
{
    wire_string_t wire = ms_to_string(name), error;
    wire_list_u8_t read;
    bool done = millstream_plugin_files_read(&wire, offset, length, &read, &error);
    if (done)
        *bytes = (ms_binary){read.ptr, read.len};
    else
        *wrong = ms_from_string(&error);
    return done;
}

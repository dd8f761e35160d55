/* Functions on batches: multiplies two columns and passes all others on, whatever their types. */
#include <millstream.h>

/* Finds the index of a required column with this type. Returns false if there is none. */
static bool find(ms_call *call, ms_schema input, const char *name, ms_type type, const char *type_name, uint32_t *index)
{
    for (*index = 0; *index < input.width; ++*index) {
        const ms_field *field = &input.fields[*index];
        if (!ms_text_is(field->name, name))
            continue;
        if (field->type == type)
            return true;
        ms_refuse_input(call, "column `%s` is %s, but must be %s", name, ms_type_name(field), type_name);
        return false;
    }
    ms_refuse_input(call, "the input has no column `%s`; it has: %s", name, ms_schema_text(input));
    return false;
}

static ms_status describe(ms_description *description, ms_call *call)
{
    uint32_t price, quantity;
    ms_schema *input = ms_alloc(sizeof *input);
    *input = ms_input_schema(call, 0);
    if (!find(call, *input, "price", MS_FLOAT64, "float64", &price) ||
        !find(call, *input, "quantity", MS_INT64, "int64", &quantity))
        return MS_FAILED;
    ms_field *output = ms_alloc((input->width + 1) * sizeof *output);
    memcpy(output, input->fields, input->width * sizeof *output);
    output[input->width] = (ms_field){.name = MS_TEXT_OF("product"), .type = MS_FLOAT64, .nullable = true};
    description->inputs = input;
    description->output = (ms_schema){output, input->width + 1};
    return MS_OK;
}

static ms_status multiply(const ms_batch *input, ms_out *out, ms_call *call)
{
    ms_schema schema = ms_input_schema(call, 0);
    uint32_t price, quantity, product = input->width;
    if (!find(call, schema, "price", MS_FLOAT64, "float64", &price) ||
        !find(call, schema, "quantity", MS_INT64, "int64", &quantity))
        return MS_FAILED;
    for (uint32_t i = 0; i < input->width; i++)
        ms_out_pass(out, i, &input->columns[i]);
    ms_out_extend(out, input->rows);
    const double *prices = ms_doubles(input, price);
    const int64_t *quantities = ms_int64s(input, quantity);
    double *products = ms_out_doubles(out, product);
    for (uint32_t row = 0; row < input->rows; row++) {
        bool is_null = ms_is_null(&input->columns[price], row) || ms_is_null(&input->columns[quantity], row);
        products[row] = is_null ? 0 : prices[row] * (double)quantities[row];
        ms_mark(&out->columns[product], row, !is_null);
    }
    return MS_OK;
}

MS_PLUGIN(.world = MS_WORLD_TRANSFORM, .describe = describe, .process = multiply);

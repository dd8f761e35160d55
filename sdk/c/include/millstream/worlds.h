/* Creates a plugin from functions on rows: the macros generate the loops over rows and groups for the plugin's own structs. */
#ifndef MILLSTREAM_WORLDS_H
#define MILLSTREAM_WORLDS_H

#include "plugin.h"

/* Functions of the SDK that the loops call. */

/* Advances to the next row to skip after this one. */
bool ms_skip_next(ms_call *call, uint32_t row);
/* Handles a function that rejected its row or failed: removes its output. Returns false if the call has failed. */
bool ms_row_refused(ms_call *call, ms_status status, uint32_t row, ms_out *out, uint32_t before);
/* Fails if the batches do not have the same number of rows. */
bool ms_are_pairs(ms_call *call, const ms_batch *left, const ms_batch *right);
/* Returns whether a function on an accumulator or its row has rejected it, which fails the call. */
bool ms_has_refused(ms_call *call, uint32_t row);
/* Reads the key of a group or of an accumulator, if the plugin needs it. */
void ms_read_key(ms_call *call, const ms_batch *keys, uint32_t row);
/* Prepares the call for a group: its rows of each input, its key, and whether the key is known and timed out. */
bool ms_group_begin(ms_call *call, const ms_groups *groups, uint32_t group, ms_rows *rows, ms_out *out);
/*
 * Completes a group whose function rejected its rows, failed or changed timers. Sets the timers, or removes the output and
 * rejects the rows. Returns false if the call has failed.
 */
bool ms_group_finish(ms_call *call, const ms_groups *groups, uint32_t group, ms_status status, ms_out *out,
                     uint32_t before);

/* Returns whether a row has a null in a field without `ms_opt_`. Such a row is not passed to the function. */
static inline bool ms_skips_row(ms_call *call, uint32_t row)
{
    return row == call->skip && ms_skip_next(call, row);
}

static inline bool ms_group_end(ms_call *call, const ms_groups *groups, uint32_t group, ms_status status, ms_out *out,
                                uint32_t before)
{
    return (status <= MS_REMOVE && !call->has_asked) || ms_group_finish(call, groups, group, status, out, before);
}

/*
 * World `transform`: rows in, rows out. The function is
 *     ms_status function(const INPUT *row, ms_out *out, ms_call *call)
 * and pushes any number of rows. If it rejects its row, the rows pushed for it are removed.
 */
#define MS_TRANSFORM(input_row, output_row, function, ...)                                                             \
    static ms_status function##_on_rows(const ms_batch *input_, ms_out *out_, ms_call *call_)                          \
    {                                                                                                                  \
        for (uint32_t row_ = 0; row_ < input_->rows; row_++) {                                                         \
            input_row value_;                                                                                          \
            if (ms_skips_row(call_, row_))                                                                             \
                continue;                                                                                              \
            input_row##_read(input_, row_, &value_);                                                                   \
            uint32_t before_ = out_->rows;                                                                             \
            ms_status status_ = function(&value_, out_, call_);                                                        \
            if (status_ != MS_OK && !ms_row_refused(call_, status_, row_, out_, before_))                              \
                return MS_FAILED;                                                                                      \
        }                                                                                                              \
        return MS_OK;                                                                                                  \
    }                                                                                                                  \
    MS_PLUGIN(.world = MS_WORLD_TRANSFORM, .input = &input_row##_row, .output = &output_row##_row,                     \
              .process = function##_on_rows, __VA_ARGS__)

/*
 * World `update`: state by key. The function is called for each key that has rows in a batch, a due timer, or a timeout:
 *     ms_status function(ms_rows *rows, STATE *state, ms_out *out, ms_call *call)
 * `state` is the old state (all zeros if `call->known` is false) and becomes the new one. MS_REMOVE removes the key. If the
 * function rejects, all rows of the key are rejected and the state stays unchanged.
 */
#define MS_UPDATE(input_row, state_row, output_row, function, ...)                                                     \
    static ms_status function##_on_groups(const ms_groups *groups_, ms_out *states_, uint8_t *kept_, ms_out *out_,     \
                                      ms_call *call_)                                                                  \
    {                                                                                                                  \
        for (uint32_t group_ = 0; group_ < groups_->keys.rows; group_++) {                                             \
            ms_rows rows_;                                                                                             \
            state_row state_;                                                                                          \
            if (!ms_group_begin(call_, groups_, group_, &rows_, out_))                                                 \
                return MS_FAILED;                                                                                      \
            memset(&state_, 0, sizeof state_);                                                                         \
            if (call_->known)                                                                                          \
                state_row##_read(&groups_->states, group_, &state_);                                                   \
            uint32_t before_ = out_->rows;                                                                             \
            ms_status status_ = function(&rows_, &state_, out_, call_);                                                \
            if (!ms_group_end(call_, groups_, group_, status_, out_, before_))                                         \
                return MS_FAILED;                                                                                      \
            if (status_ == MS_REJECTED) {                                                                              \
                memset(&state_, 0, sizeof state_);                                                                     \
                if (call_->known)                                                                                      \
                    state_row##_read(&groups_->states, group_, &state_);                                               \
            }                                                                                                          \
            if (status_ == MS_REMOVE || (status_ == MS_REJECTED && !call_->known)) {                                   \
                memset(&state_, 0, sizeof state_);                                                                     \
                kept_[group_ / 8] &= (uint8_t) ~(1u << (group_ % 8));                                                  \
            }                                                                                                          \
            state_row##_push(states_, state_);                                                                         \
        }                                                                                                              \
        return MS_OK;                                                                                                  \
    }                                                                                                                  \
    MS_PLUGIN(.world = MS_WORLD_UPDATE, .input = &input_row##_row, .state = &state_row##_row,                          \
              .output = &output_row##_row, .update = function##_on_groups, __VA_ARGS__)

/*
 * World `update-migrating`: converts states of other versions of the plugin, which had other columns.
 *     STATE function(const OLD *old, ms_call *call)
 * Write it before `MS_UPDATE`, and add `MS_MIGRATIONS(&function_migration)` after the function in `MS_UPDATE`. There may be
 * several migrations; the columns of the old states select one. A function that calls `ms_reject` or `ms_fail` reports that a
 * state cannot be converted.
 */
#define MS_MIGRATE(old_row, state_row, function)                                                                       \
    static ms_status function##_on_states(const ms_batch *old_, ms_out *states_, ms_call *call_)                       \
    {                                                                                                                  \
        for (uint32_t row_ = 0; row_ < old_->rows; row_++) {                                                           \
            old_row value_;                                                                                            \
            old_row##_read(old_, row_, &value_);                                                                       \
            state_row state_ = function(&value_, call_);                                                               \
            if (ms_has_refused(call_, row_))                                                                           \
                return MS_FAILED;                                                                                      \
            state_row##_push(states_, state_);                                                                         \
        }                                                                                                              \
        return MS_OK;                                                                                                  \
    }                                                                                                                  \
    static const ms_migration function##_migration = {&old_row##_row, function##_on_states}

/*
 * World `cogroup`: several inputs, grouped by key. The function is called for every key that has rows in at least one
 * input, with the rows of each input in the order of `inputs`, which `MS_INPUTS` creates:
 *     ms_status function(ms_rows *inputs, ms_out *out, ms_call *call)
 */
#define MS_COGROUP(input_rows, output_row, function, ...)                                                              \
    static ms_status function##_on_groups(const ms_groups *groups_, ms_out *out_, ms_call *call_)                      \
    {                                                                                                                  \
        ms_rows *rows_ = ms_alloc(groups_->inputs_count * sizeof *rows_);                                              \
        for (uint32_t group_ = 0; group_ < groups_->keys.rows; group_++) {                                             \
            if (!ms_group_begin(call_, groups_, group_, rows_, out_))                                                  \
                return MS_FAILED;                                                                                      \
            uint32_t before_ = out_->rows;                                                                             \
            ms_status status_ = function(rows_, out_, call_);                                                          \
            if (!ms_group_end(call_, groups_, group_, status_, out_, before_))                                         \
                return MS_FAILED;                                                                                      \
        }                                                                                                              \
        return MS_OK;                                                                                                  \
    }                                                                                                                  \
    MS_PLUGIN(.world = MS_WORLD_COGROUP, .inputs = input_rows, .output = &output_row##_row,                            \
              .cogroup = function##_on_groups, __VA_ARGS__)

/*
 * World `aggregate`: reduces rows to one row per key, or to one in total.
 *     ACCUMULATOR lift(const INPUT *row, ms_call *call)
 *     ACCUMULATOR combine(const ACCUMULATOR *left, const ACCUMULATOR *right, ms_call *call)     must be associative
 *     OUTPUT lower(const ACCUMULATOR *accumulator, ms_call *call)
 * A function that calls `ms_reject` or `ms_fail` fails the call, whatever it returns.
 */
#define MS_AGGREGATE(input_row, accumulator_row, output_row, lift_function, combine_function, lower_function, ...)     \
    static ms_status lift_function##_on_rows(const ms_batch *rows_, ms_out *out_, ms_call *call_)                      \
    {                                                                                                                  \
        for (uint32_t row_ = 0; row_ < rows_->rows; row_++) {                                                          \
            input_row value_;                                                                                          \
            input_row##_read(rows_, row_, &value_);                                                                    \
            accumulator_row lifted_ = lift_function(&value_, call_);                                                   \
            if (ms_has_refused(call_, row_))                                                                           \
                return MS_FAILED;                                                                                      \
            accumulator_row##_push(out_, lifted_);                                                                     \
        }                                                                                                              \
        return MS_OK;                                                                                                  \
    }                                                                                                                  \
    MS_AGGREGATE_PAIRS(combine_function##_on_pairs, accumulator_row, combine_function)                                 \
    static ms_status lower_function##_on_rows(const ms_batch *keys_, const ms_batch *accumulators_, ms_out *out_,      \
                                              ms_call *call_)                                                          \
    {                                                                                                                  \
        for (uint32_t row_ = 0; row_ < accumulators_->rows; row_++) {                                                  \
            accumulator_row value_;                                                                                    \
            ms_read_key(call_, keys_, row_);                                                                           \
            accumulator_row##_read(accumulators_, row_, &value_);                                                      \
            output_row lowered_ = lower_function(&value_, call_);                                                      \
            if (ms_has_refused(call_, row_))                                                                           \
                return MS_FAILED;                                                                                      \
            output_row##_push(out_, lowered_);                                                                         \
        }                                                                                                              \
        return MS_OK;                                                                                                  \
    }                                                                                                                  \
    MS_PLUGIN(.world = MS_WORLD_AGGREGATE, .input = &input_row##_row, .state = &accumulator_row##_row,                 \
              .output = &output_row##_row, .lift = lift_function##_on_rows, .combine = combine_function##_on_pairs,    \
              .lower = lower_function##_on_rows,                                                                       \
              __VA_ARGS__)

/* Like MS_AGGREGATE, with a function that removes an accumulator, inverse(combine(a, b), a) = b. It makes sliding windows cheaper:
 *     ACCUMULATOR inverse(const ACCUMULATOR *whole, const ACCUMULATOR *part, ms_call *call) */
#define MS_AGGREGATE_INVERSE(input_row, accumulator_row, output_row, lift_function, combine_function, lower_function,  \
                             inverse_function, ...)                                                                    \
    MS_AGGREGATE_PAIRS(inverse_function##_on_pairs, accumulator_row, inverse_function)                                 \
    MS_AGGREGATE(input_row, accumulator_row, output_row, lift_function, combine_function, lower_function,              \
                 .inverse = inverse_function##_on_pairs, __VA_ARGS__)

#define MS_AGGREGATE_PAIRS(name, accumulator_row, function)                                                            \
    static ms_status name(const ms_batch *left_, const ms_batch *right_, ms_out *out_, ms_call *call_)                 \
    {                                                                                                                  \
        if (!ms_are_pairs(call_, left_, right_))                                                                       \
            return MS_FAILED;                                                                                          \
        for (uint32_t row_ = 0; row_ < left_->rows; row_++) {                                                          \
            accumulator_row first_, second_;                                                                           \
            accumulator_row##_read(left_, row_, &first_);                                                              \
            accumulator_row##_read(right_, row_, &second_);                                                            \
            accumulator_row combined_ = function(&first_, &second_, call_);                                            \
            if (ms_has_refused(call_, row_))                                                                           \
                return MS_FAILED;                                                                                      \
            accumulator_row##_push(out_, combined_);                                                                   \
        }                                                                                                              \
        return MS_OK;                                                                                                  \
    }

#endif

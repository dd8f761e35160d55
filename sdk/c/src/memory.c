/* Memory that is freed at once. */
#include "engine.h"

#include <stdio.h>
#include <stdlib.h>

/* Size of a block from which small pieces are allocated. */
#define BLOCK_BYTES 65536

typedef struct ms_block {
    struct ms_block *next;
    struct ms_block *previous;
    size_t size;
    size_t unused;
} ms_block;

/* A block's memory starts after its header, aligned to sixteen bytes. */
#define HEAD_BYTES ((sizeof(ms_block) + 15) / 16 * 16)

ms_arena ms_call_memory;
ms_arena ms_config_memory;

static void link_block(ms_arena *arena, ms_block *block)
{
    /* Small pieces are allocated from the first block; others follow it. */
    ms_block *first = arena->blocks;
    block->previous = first;
    block->next = first ? first->next : NULL;
    if (block->next)
        block->next->previous = block;
    if (first)
        first->next = block;
    else
        arena->blocks = block;
}

static ms_block *new_block(ms_block *old, size_t size)
{
    ms_block *block = size > SIZE_MAX - HEAD_BYTES ? NULL : realloc(old, HEAD_BYTES + size);
    if (!block)
        ms_stop(__FILE__, __LINE__, __func__, "there is memory");
    block->size = size;
    return block;
}

void *ms_arena_alloc(ms_arena *arena, size_t size)
{
    size_t rounded = size > SIZE_MAX - 15 ? SIZE_MAX : (size + 15) / 16 * 16;
    if (!arena->blocks)
        link_block(arena, new_block(NULL, BLOCK_BYTES));
    if (rounded > BLOCK_BYTES / 4)
        return ms_arena_grow(arena, NULL, rounded);
    if (rounded > arena->blocks->size - arena->used) {
        ms_block *block = new_block(NULL, BLOCK_BYTES);
        block->previous = NULL;
        block->next = arena->blocks;
        block->next->previous = block;
        arena->blocks = block;
        arena->used = 0;
    }
    void *memory = (char *)arena->blocks + HEAD_BYTES + arena->used;
    arena->used += rounded;
    return memory;
}

void *ms_arena_grow(ms_arena *arena, void *memory, size_t size)
{
    if (!arena->blocks)
        link_block(arena, new_block(NULL, BLOCK_BYTES));
    ms_block *old = memory ? (ms_block *)((char *)memory - HEAD_BYTES) : NULL;
    if (old) {
        old->previous->next = old->next;
        if (old->next)
            old->next->previous = old->previous;
    }
    ms_block *block = new_block(old, size);
    link_block(arena, block);
    return (char *)block + HEAD_BYTES;
}

void ms_arena_reset(ms_arena *arena)
{
    while (arena->blocks && arena->blocks->next) {
        ms_block *rest = arena->blocks->next;
        arena->blocks->next = rest->next;
        free(rest);
    }
    arena->used = 0;
}

ms_text ms_arena_copy(ms_arena *arena, ms_text text)
{
    char *copy = ms_arena_alloc(arena, text.length + 1);
    if (text.length)
        memcpy(copy, text.data, text.length);
    copy[text.length] = 0;
    return (ms_text){copy, text.length};
}

ms_text ms_arena_format(ms_arena *arena, const char *format, va_list arguments)
{
    va_list again;
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, arguments);
    size_t size = length < 0 ? 0 : (size_t)length;
    char *text = ms_arena_alloc(arena, size + 1);
    text[0] = 0;
    vsnprintf(text, size + 1, format, again);
    va_end(again);
    return (ms_text){text, size};
}

void *ms_alloc(size_t size)
{
    return ms_arena_alloc(&ms_call_memory, size);
}

ms_text ms_format(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    ms_text text = ms_arena_format(&ms_call_memory, format, arguments);
    va_end(arguments);
    return text;
}
